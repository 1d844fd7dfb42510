"""Recordings as speedscope reads them."""

import json

from profiles.stacks import Stacks

SCHEMA = "https://www.speedscope.app/file-format-schema.json"


def speedscope(stacks: Stacks, title: str) -> str:
    """Return a recording's samples in speedscope's JSON."""
    frames = sorted({frame for stack in stacks.counts for frame in stack})
    index = {frame: number for number, frame in enumerate(frames)}
    ordered = sorted(stacks.counts.items())
    profile = {
        "type": "sampled",
        "name": title,
        "unit": "none",
        "startValue": 0,
        "endValue": stacks.samples,
        "samples": [[index[frame] for frame in stack] for stack, _ in ordered],
        "weights": [count for _, count in ordered],
    }
    document = {"$schema": SCHEMA, "shared": {"frames": [{"name": frame} for frame in frames]}, "profiles": [profile]}
    return json.dumps(document) + "\n"
