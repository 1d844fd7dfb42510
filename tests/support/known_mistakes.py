"""Ordinary mistakes in backpropagation: what each is, what a diagnosis of it must match, and pairs of them."""

SHAPE_MISTAKES = {
    "bias-columns": "each bias gradient is a column, (n_out, 1)",
    "bias-rows": "each bias gradient is a row, (1, n_out)",
    "pair-swapped": "weights and biases are swapped: gradients returns (db, dW)",
    "weights-transposed": "each weight gradient is transposed: (n_in, n_out)",
    "layers-reversed": "the layers are in reverse order, the last one first",
    "bias-one-number": "each bias gradient is summed to one number",
    "pairs-per-layer": "returns a list of pairs per layer, [(dW0, db0), (dW1, db1), …]",
}

VALUE_MISTAKES = {
    "sum-not-mean": "the gradient is the sum over the mini-batch, not the mean",
    "sign": "the sign is wrong: y - a instead of a - y",
    "mean-twice": "divided by the number of examples twice",
    "error-back": "the error a - y, not delta, goes back through the weights",
    "slope-of-a": "the slope of the sigmoid is taken at the activation instead of at z, in all layers",
    "slope-missing-hidden": "the slope of the sigmoid is missing in the hidden layers",
    "slope-missing-output": "the slope of the sigmoid is missing at the output: the delta of the cross-entropy",
    "bias-forgotten": "the biases are not added in the forward pass",
    "bias-gradient-zero": "the bias gradients are zero",
    "bias-summed-to-one": "each bias gradient is the same number everywhere, the sum over all units",
    "hidden-relu": "the hidden layers have ReLU",
    "hidden-tanh": "the hidden layers have tanh",
    "output-softmax": "the output layer is a softmax, with the delta of the cross-entropy",
    "output-linear": "the output layer is linear",
    "own-weights": "the weights that are loaded are not used",
    "wrong-axis": "the bias gradient is summed along the wrong axis: over units, (B,), instead of over examples",
    "transposed-back": "delta goes back through W instead of its transpose, where W is square",
    "z-for-a": "dW is made with z of the layer before instead of its activation",
    "first-example-only": "only the first example counts: the loop returns in its first turn",
    "last-example-missing": "the last example is left out, and the sum is still divided by all",
    "half-missing": "twice as large: the factor 1/2 of the cost is missing",
    "outputs-mean": "the mean is over the outputs, too",
    "columns-for-rows": "x and y become (n, B) by reshape instead of by transpose",
    "regularized": "the gradient of the weights includes weight decay, 0.01 * W",
}

STEP_MISTAKES = {
    "rate-twice": "the learning rate is multiplied twice",
    "rate-ignored": "the learning rate is ignored",
    "step-adds": "the step adds the gradient instead of subtracting it",
    "weight-decay": "the step includes weight decay, rate * 0.01 * W",
    "momentum": "the step has momentum, 0.9",
    "updated-while-going-back": "the weights are already updated when delta goes back through them",
    "bias-not-updated": "the biases are not updated",
}

MEANINGS = SHAPE_MISTAKES | VALUE_MISTAKES | STEP_MISTAKES  # id -> what it is, in one line

MISTAKES = {  # id -> a regular expression that any honest diagnosis in English matches, whatever its case
    "bias-columns": r"bias.*(column|, ?1\))",
    "bias-rows": r"bias.*(\brows?\b|\(1, )",
    "pair-swapped": r"swap|exchang|mixed up|(bias|db).*(before|first)",
    "weights-transposed": r"transpos",
    "layers-reversed": r"revers|last (layer )?first|backwards|order of the layers",
    "bias-one-number": r"bias.*(one|single|scalar|all units|over (the )?units)",
    "pairs-per-layer": r"pairs|per layer|layer by layer|for each layer",
    "sum-not-mean": r"\bsum(s|med)?\b.*(batch|mean|averag|example)|not (averaged|divided)|(mean|averag).*\bsum",
    "sign": r"\bsign|y ?[-\u2212] ?a|negat|opposite|ascent",
    "mean-twice": r"(divid|mean|averag|batch|example).*(twice|squar)|twice.*(divid|mean|averag|batch|example)",
    "error-back": r"error.*(back|through)|back.*error",
    "slope-of-a": r"(slope|derivative|prime).*(activation|\(a\)|(of|at) a(,|;|\.|$| instead| not)|instead of.*\bz)",
    "slope-missing-hidden": r"(?=.*(slope|derivative|prime))(?=.*hidden)",
    "slope-missing-output": r"cross-entropy|(?=.*(slope|derivative|prime))(?=.*(output|last layer))",
    "bias-forgotten": r"bias.*(forward|not added|left out|forgotten|missing|ignored|not used|unused)|(without|no) bias",
    "bias-gradient-zero": r"bias.*(zero|\b0\b)",
    "bias-summed-to-one": r"(?=.*bias)(?=.*(one|single|same|equal|all units|over (the )?units))",
    "hidden-relu": r"relu|rectif",
    "hidden-tanh": r"tanh|hyperbolic",
    "output-softmax": r"softmax",
    "output-linear": r"\blinear|identity|no (sigmoid|activation)|without.*sigmoid",
    "own-weights": r"\bload|own (weights|parameters)",
    "wrong-axis": r"\baxis|over (the )?units",
    "transposed-back": r"transpos|W\.T|W instead",
    "z-for-a": r"\bzs?\b|pre-?activation|weighted input|before the (sigmoid|activation)",
    "first-example-only": r"first example|(only|one|single).*example",
    "last-example-missing": r"last example|example.*(missing|left out|dropped|skipped)",
    "half-missing": r"half|1/2|0\.5|twice|doubl|\b2(\.0+)? times|factor.*\b2\b",
    "outputs-mean": r"(mean|averag|divid).*(outputs|units|n_L)|(outputs|units|n_L).*(mean|averag|divid)",
    "columns-for-rows": r"reshap|transpos|rows.*columns|columns.*rows",
    "regularized": r"decay|regulari|\bL2\b|shr[iu]nk",
    "rate-twice": r"rate.*(twice|squar)|twice.*rate",
    "rate-ignored": r"rate.*(ignor|not used|unused|missing|forgotten|not multiplied|no effect)|(ignor|without).*rate",
    "step-adds": r"\badd(s|ed|ing)?\b|\bsign|opposite|uphill|ascent|wrong direction",
    "weight-decay": r"decay|regulari|\bL2\b|shr[iu]nk",
    "momentum": r"momentum|velocity|(previous|earlier|last) (step|gradient)",
    "updated-while-going-back": r"(already|early|before|while|after).*updat|updat.*(already|early|before|while|when)",
    "bias-not-updated": r"bias.*(not|never).*(updat|chang|mov|learn|train)|bias.*(unchanged|stay|remain|frozen|fixed)",
}

SINGLES = list(MISTAKES)

PAIRS_BY_FIRST = {  # compatible mistakes that people make together; no pair computes the same as another case
    "bias-columns": (
        "sum-not-mean sign mean-twice half-missing outputs-mean error-back slope-of-a "
        "slope-missing-hidden slope-missing-output bias-forgotten hidden-relu hidden-tanh "
        "output-softmax regularized own-weights last-example-missing transposed-back"
    ),
    "bias-rows": ("sum-not-mean half-missing slope-missing-output hidden-relu output-softmax output-linear z-for-a"),
    "pair-swapped": "sum-not-mean sign slope-of-a error-back output-linear first-example-only own-weights",
    "weights-transposed": "sum-not-mean half-missing slope-missing-output hidden-relu output-softmax columns-for-rows",
    "layers-reversed": "sum-not-mean sign error-back slope-missing-hidden hidden-tanh",
    "bias-one-number": "sum-not-mean half-missing outputs-mean slope-of-a output-softmax",
    "pairs-per-layer": "sum-not-mean mean-twice slope-missing-output hidden-relu output-linear",
    "sum-not-mean": (
        "sign error-back slope-of-a slope-missing-hidden slope-missing-output bias-forgotten "
        "bias-summed-to-one bias-gradient-zero hidden-relu hidden-tanh output-softmax output-linear "
        "wrong-axis transposed-back z-for-a half-missing columns-for-rows regularized rate-twice "
        "rate-ignored weight-decay momentum updated-while-going-back"
    ),
    "hidden-relu": (
        "output-softmax output-linear slope-missing-output bias-forgotten regularized half-missing "
        "momentum bias-not-updated"
    ),
    "hidden-tanh": "output-softmax output-linear sign weight-decay",
    "output-softmax": "regularized bias-summed-to-one mean-twice weight-decay momentum",
    "half-missing": "outputs-mean sign slope-of-a last-example-missing rate-twice bias-not-updated momentum",
    "slope-missing-output": (
        "slope-missing-hidden slope-of-a bias-forgotten first-example-only transposed-back "
        "columns-for-rows sign momentum updated-while-going-back"
    ),
    "slope-of-a": "bias-summed-to-one error-back last-example-missing updated-while-going-back step-adds",
    "slope-missing-hidden": "z-for-a step-adds",
    "bias-forgotten": "bias-gradient-zero bias-not-updated",
    "bias-summed-to-one": "mean-twice",
    "error-back": "wrong-axis weight-decay",
    "outputs-mean": "momentum rate-ignored",
    "output-linear": "rate-twice",
    "last-example-missing": "updated-while-going-back",
}
PAIRS = [(first, second) for first, seconds in PAIRS_BY_FIRST.items() for second in seconds.split()]
