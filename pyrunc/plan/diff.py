"""What two plans do differently: for `pyrunc plan --plan-diff`, beside each line the place in the config that it comes from.

Slots and the entries of lists are numbered through, so one mount more shifts all numbers behind it; and two bundles have two
paths. None of that counts as a difference.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.plan.ops import Plan

ABSTRACT = (r"\bs\d+\b|(?<=#) .*\[\d+\].*", "_")
"""Slots, and origins with an index, which one entry more shifts as well: the operation itself says enough."""


def diff(one: Plan, other: Plan, bundles: tuple[str, str]) -> list[str]:
    """Return the lines of either plan that the other has not, in their order, after "- " or "+ "."""
    from difflib import SequenceMatcher

    from pyrunc.plan.render import render

    texts = [render(plan).splitlines() for plan in (one, other)]
    first, second = [
        [_key(line, bundle) for line in text] for text, bundle in zip(texts, bundles, strict=True)
    ]
    lines: list[str] = []
    for tag, low, high, other_low, other_high in SequenceMatcher(
        None, first, second, autojunk=False
    ).get_opcodes():
        if tag != "equal":
            lines += [f"- {line}" for line in texts[0][low:high]]
            lines += [f"+ {line}" for line in texts[1][other_low:other_high]]
    return lines


def _key(line: str, bundle: str) -> str:
    """Return what of a line is compared: not the numbers of slots, not the bundle's path, not the blanks."""
    import re

    return " ".join(re.sub(*ABSTRACT, line.replace(bundle, "BUNDLE")).split())
