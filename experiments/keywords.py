"""How keyword arguments are typed on the command line: NAME=VALUE, each value in JSON or a bare word."""

import json
from collections.abc import Sequence
from typing import Any

from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

REGISTRY = ConstructorRegistry()
"""what `tyro.cli` must be given wherever there are such options"""


@REGISTRY.primitive_rule
def _rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[dict[str, Any]] | None:
    if info.type != dict[str, Any]:
        return None
    return PrimitiveConstructorSpec(
        nargs="*",
        metavar="NAME=VALUE ...",
        instance_from_str=read_keywords,
        is_instance=lambda value: isinstance(value, dict),
        str_from_instance=lambda keywords: [f"{name}={json.dumps(value)}" for name, value in keywords.items()],
    )


def read_keywords(words: Sequence[str]) -> dict[str, Any]:
    """The keywords in words such as `size=9`, `wind=true`, `name=hello`.

    Raises:
        ValueError: If a word is not of that form; tyro shows it.
    """
    keywords = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not (name.isidentifier() and equals):
            raise ValueError(f"takes NAME=VALUE, as in size=9, not {word!r}")
        keywords[name] = read_value(text)
    return keywords


def read_value(text: str) -> Any:
    """A value in JSON, or else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text
