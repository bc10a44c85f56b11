"""What ``procon inspect`` prints: samples in colour or with brackets, and a table of all sources."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from orchestrator.commands.inspect_samples import Inspection, ShownSample, Span
from orchestrator.terminal import Terminal

if TYPE_CHECKING:
    from rich.text import Text

_LEGEND = "prompt as it is, [trained on], {constrained}, [{both}]"


def print_inspection(found: Inspection, console: Terminal) -> None:
    """Draw the samples in colour, or with brackets where there is none, and the table of all sources."""
    from rich.table import Table

    say = console.say
    say(f"{found.model}, {found.split} split: {found.constraint}; a turn ends with {found.end_of_turn}")
    say(_legend() if _coloured(console) else f"Legend: {_LEGEND}")
    for sample in found.samples:
        say(f"\n{sample.source} row {sample.row}, {sample.tokens} tokens")
        say(_drawn(sample, coloured=_coloured(console)))
    table = Table(title=f"\nTokens per sample at max_length {found.max_length}", title_justify="left")
    for column in ("source", "samples", "trained on", "constrained", *found.sources[0].length_percentiles):
        table.add_column(column, justify="left" if column == "source" else "right")
    for one in found.sources:
        shares = (f"{one.trained_share:.1%}", f"{one.constrained_share:.1%}")
        table.add_row(one.source, str(one.samples), *shares, *map(str, one.length_percentiles.values()))
    console.print(table)
    for sentence in _losses(found):
        say(sentence)
    if found.thinking is not None:
        say(found.thinking)


def _losses(found: Inspection) -> Iterator[str]:
    for one in found.sources:
        counts = (one.skipped, one.shortened_prompts, one.cut_responses)
        if any(counts):
            yield (
                f"{one.source}: {one.skipped} samples skipped (their prompt alone fills the length), "
                f"{one.shortened_prompts} with a shortened prompt, {one.cut_responses} with a cut response; "
                "a larger trial.max_length keeps them whole"
            )
        else:
            yield f"{one.source}: no sample is skipped or cut"


def _coloured(console: Terminal) -> bool:
    return console.is_terminal and not console.no_color


def _style(span: Span) -> str:
    return ("green" if span.trained else "dim") + (" bold underline" if span.constrained else "")


def _legend() -> "Text":
    from rich.text import Text

    return Text("Legend: ").append_text(
        Text("  ").join(
            Text(text, _style(Span(text, *kind)))
            for text, kind in (
                ("prompt", (False, False)),
                ("trained on", (True, False)),
                ("constrained", (False, True)),
                ("both", (True, True)),
            )
        )
    )


def _drawn(sample: ShownSample, *, coloured: bool) -> "Text":
    from rich.text import Text

    drawn = Text()
    for span in sample.spans:
        if coloured:
            drawn.append(span.text, _style(span))
        else:
            inner = f"{{{span.text}}}" if span.constrained else span.text
            drawn.append(f"[{inner}]" if span.trained else inner)
    return drawn
