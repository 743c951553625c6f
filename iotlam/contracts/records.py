"""Records: what is written as TOML or JSON and read back strictly, with errors a user can act on."""

from __future__ import annotations

import inspect
import json
import re
import tomllib
from pathlib import Path
from typing import Any, Self, get_args, get_type_hints

import msgspec

from iotlam.contracts.errors import BadInput


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of the contracts' records: immutable, typed, and the same in TOML, JSON and memory."""

    @classmethod
    def from_raw(cls, raw: object, subject: str) -> Self:
        """Build the record from what TOML or JSON gave.

        Args:
            raw: a mapping of the record's fields.
            subject: what is being read, for the error.

        Raises:
            BadInput: for a key that is unknown or missing, or a value of the wrong type or range.
        """
        try:
            return msgspec.convert(raw, cls)
        except msgspec.ValidationError as error:
            raise _explain(cls, raw, subject, str(error)) from error

    @classmethod
    def from_json(cls, text: str, subject: str) -> Self:
        """Read what `to_json` wrote.

        Raises:
            BadInput: if it is no JSON or no such record.
        """
        try:
            raw = json.loads(text)
        except (ValueError, RecursionError) as error:  # ValueError also for numbers of thousands of digits
            raise BadInput(subject, expected="JSON", got=str(error), fix="restore the file") from error
        return cls.from_raw(raw, subject)

    @classmethod
    def from_toml(cls, path: Path) -> Self:
        """Read a TOML file.

        Raises:
            BadInput: if it cannot be read or is no such record.
        """
        try:
            if path.exists() and not path.is_file():  # reading a pipe would wait for ever
                raise OSError("no regular file")
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:  # ValueError: no UTF-8, no TOML, too long a number
            got = "no such file" if isinstance(error, FileNotFoundError) else str(error)
            raise BadInput(str(path), expected="a readable TOML file", got=got, fix="write or mend it") from error
        return cls.from_raw(raw, str(path))

    def changed(self, **fields: Any) -> Self:
        """The record with some fields replaced."""
        return msgspec.structs.replace(self, **fields)

    def to_raw(self) -> dict[str, Any]:
        """The fields as lists, mappings, numbers and text."""
        raw: dict[str, Any] = msgspec.to_builtins(self)
        return raw

    def to_json(self) -> str:
        """The record as indented JSON."""
        return json.dumps(self.to_raw(), indent=2) + "\n"

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """JSON Schema (2020-12) of the record; its fields are described as in the docstring."""
        schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(cls)}
        body, text = schema["$defs"][cls.__name__], inspect.getdoc(cls) or ""
        body["description"] = text.partition("\n")[0]
        for name, meaning in re.findall(r"^    (\w+): (.*(?:\n        .*)*)", text, re.MULTILINE):
            body["properties"].get(name, {})["description"] = " ".join(meaning.split())
        return schema


def _explain(cls: type[Record], raw: object, subject: str, message: str) -> BadInput:
    """What msgspec says ("Expected `int`, got `str` - at `$.rate_hz[0]`") as one of our sentences."""
    reason, _, path = message.replace("`", "").partition(" - at $")
    steps = re.findall(r"\w+", path)
    where = ", ".join([subject, path.lstrip(".")] if path else [subject])
    if named := re.fullmatch(r"Object (missing required|contains unknown) field (\w+)", reason):
        if named[1] == "missing required":
            return BadInput(where, expected=f"the key {named[2]}", got="none", fix="add it")
        return BadInput(where, expected="only known keys", got=named[2], fix="remove or rename it")
    expected, _, got = reason.removeprefix("Expected ").partition(", got ")
    if reason.startswith("Invalid enum value") and steps:
        choices = get_args(get_type_hints(cls, include_extras=True)[steps[0]])
        expected = f"one of {', '.join(map(str, choices))}"
    elif not reason.startswith("Expected "):
        return BadInput(where, expected=f"fields that fit together ({cls.__name__})", got=reason, fix="correct them")
    return BadInput(where, expected=expected, got=got or repr(_at(raw, steps)), fix="correct the value")


def _at(raw: Any, steps: list[str]) -> object:
    """What stands in nested mappings and lists under a path; the innermost that can be reached."""
    for step in steps:
        if isinstance(raw, dict) and step in raw:
            raw = raw[step]
        elif isinstance(raw, list) and step.isdigit() and int(step) < len(raw):
            raw = raw[int(step)]
    return raw
