"""Unions of parts whose usual kind need not be written in a recipe."""

from collections.abc import Callable, Mapping


def kind_or(usual: str) -> Callable[[object], str]:
    """What tells the members of a union apart: the `kind` of a mapping or record, or the usual."""

    def kind(value: object) -> str:
        if isinstance(value, Mapping):
            return str(value.get("kind", usual))
        return str(getattr(value, "kind", usual))

    return kind
