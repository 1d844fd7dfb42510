"""Fuzz one target by coverage: `python -m tests.fuzz results --seconds=600`."""

import sys
import tempfile
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent.parent))  # for what tests make up

from fuzz.targets import TARGETS, run, seeds

CORPUS = Path(__file__).with_name("corpus")
MEMORY, OF_ALL = 1024, 4096  # MiB: at a time; of the process, as the fuzzer's own memory grows with what it tries


@click.command()
@click.argument("name", type=click.Choice(list(TARGETS)))
@click.option("--seconds", type=click.IntRange(1), default=600, show_default=True)
@click.option("--work", type=click.Path(path_type=Path), help="Where what is found goes (a new folder).")
def main(name: str, seconds: int, work: Path | None) -> None:
    """Let atheris look for inputs of a target that crash it, hang or take 1 GiB."""
    import atheris

    work = work or Path(tempfile.mkdtemp(prefix="fuzz-"))
    click.echo(f"{name}: what is found goes to {work}")
    found = work / name
    found.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(name)):
        (found / f"seed-{number}").write_bytes(seed)
    atheris.instrument_all()
    options = [
        f"-max_total_time={seconds}",
        f"-malloc_limit_mb={MEMORY}",
        f"-rss_limit_mb={OF_ALL}",
        "-timeout=10",
        f"-artifact_prefix={work}/{name}-",
    ]
    corpus = [str(found), *(str(folder) for folder in [CORPUS / name] if folder.is_dir())]
    atheris.Setup([sys.argv[0], *options, *corpus], lambda content: run(TARGETS[name], bytes(content)))
    atheris.Fuzz()


main()
