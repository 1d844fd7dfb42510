"""Whatever somebody else wrote is read, or refused in one line: mutations of good inputs, and what failed once."""

import pytest
from fuzz_targets import TARGETS, run, seeds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

EXAMPLES = {"results": 60, "stacks": 60}
FAILED_ONCE = [
    ("protocol", b'{"reply":"failure","outcome":"\x80","reason":""}'),
    ("scaling", b'{"schema":1,"date":"\x80"}'),
    ("workload", b"\n784-64-10:32:float32:2"),
]


@st.composite
def mutated(draw: st.DrawFn, good: list[bytes]) -> bytes:
    """Draw a good input with a few bytes changed, dropped, doubled or put in; or bytes that are nothing at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=64))
    content = bytearray(draw(st.sampled_from(good)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        stop = min(len(content), start + draw(st.integers(0, 8)))
        content[start:stop] = draw(
            st.one_of(
                st.binary(max_size=8),
                st.just(bytes(content[start:stop]) * 3),
                st.sampled_from(
                    [b"null", b"-1", b"1e308", b"9" * 40, b"[" * 400, b'"', b"\\u0000", b"\xff" * 4, b"NaN"]
                ),
            )
        )
    return bytes(content)


@pytest.mark.parametrize("name", TARGETS)
def test_good_inputs_are_read(name: str) -> None:
    for content in seeds(name):
        TARGETS[name](content)


@pytest.mark.slow("tries hundreds of inputs")
@pytest.mark.parametrize("name", TARGETS)
def test_mutated_inputs_are_read_or_refused_in_a_line(name: str) -> None:
    @settings(max_examples=EXAMPLES.get(name, 200), deadline=None, suppress_health_check=list(HealthCheck))
    @given(content=mutated(seeds(name)))
    def look(content: bytes) -> None:
        run(TARGETS[name], content)

    look()


@pytest.mark.parametrize(("name", "content"), FAILED_ONCE, ids=[name for name, _ in FAILED_ONCE])
def test_what_failed_once_is_fixed(name: str, content: bytes) -> None:
    run(TARGETS[name], content)
