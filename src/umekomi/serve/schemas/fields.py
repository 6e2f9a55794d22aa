"""Fields of requests. Each field is described once; its validation and its JSON schema both follow from that description.

The checks are written in Python instead of with a validation library, because error messages are those of the hosted API and a
request may contain 2,048 arrays of token ids. ``docs/lab/request-validation.md`` compares the speed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any

from ..errors import RequestError

Schema = dict[str, Any]

_TYPE_NAMES = {
    bool: "a boolean",
    int: "an integer",
    float: "a decimal",
    str: "a string",
    list: "an array",
    dict: "an object",
}
_INPUT_TYPES = "a string, an array of strings, an array of integers, or an array of integer arrays"


def abbreviate(text: str) -> str:
    """Return at most 80 characters of a client's text, for an error message."""
    return text if len(text) <= 80 else text[:79] + "…"


def type_error(name: str, expected: str, value: object) -> RequestError:
    """Return the error for a field of a wrong type."""
    got = _TYPE_NAMES.get(type(value), "null")
    param = abbreviate(name) or None
    subject = f"type for '{param}'" if param else "body"
    return RequestError(
        f"Invalid {subject}: expected {expected}, but got {got} instead.", param=param, code="invalid_type"
    )


def check_length(name: str, values: list[Any], max_items: int) -> None:
    """Raise RequestError if an array has more than ``max_items`` items."""
    if len(values) > max_items:
        raise RequestError(
            f"Invalid '{name}': array too long. Expected an array with maximum length {max_items}, but got an array "
            f"with length {len(values)} instead.",
            param=name,
            code="array_above_max_length",
        )


@dataclass(frozen=True)
class Field:
    """A field of a request."""

    _: KW_ONLY
    required: bool = False
    #: Value of a field that is missing or null.
    default: Any = None
    #: Description for the JSON schema.
    description: str = ""

    def parse(self, name: str, value: Any) -> Any:
        """Return the validated value.

        Args:
            name: Path of the field, for error messages.
            value: JSON value other than null.

        Raises:
            RequestError: The value has a wrong type or is outside of its limits.
        """
        raise NotImplementedError

    def parse_missing(self, name: str) -> Any:
        """Return the default. Raises RequestError if the field is required."""
        if self.required:
            raise RequestError(f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")
        return self.default

    def parse_text(self, name: str, text: str) -> Any:
        """Return the validated value of a form field or query parameter."""
        return self.parse(name, text)

    def type_schema(self) -> Schema:
        """Return the JSON schema of values other than null, without the description."""
        raise NotImplementedError

    def json_schema(self, *, nullable: bool) -> Schema:
        """Return the JSON schema of the field."""
        schema = self.type_schema()
        if nullable and "type" in schema:
            schema["type"] = [schema["type"], "null"]
            if "enum" in schema:
                schema["enum"] = [*schema["enum"], None]
        if self.default is not None:
            schema["default"] = self.default
        return {**schema, "description": self.description} if self.description else schema


@dataclass(frozen=True)
class Text(Field):
    """A string."""

    #: Allowed values. If empty, every string is allowed.
    choices: tuple[str, ...] = ()
    _: KW_ONLY
    min_length: int = 0
    max_length: int | None = None

    def parse(self, name: str, value: Any) -> str:
        if type(value) is not str:
            raise type_error(name, "a string", value)
        if self.choices and value not in self.choices:
            supported = " and ".join(f"'{choice}'" for choice in self.choices)
            raise RequestError(
                f"Invalid value: '{abbreviate(value)}'. Supported values are: {supported}.",
                param=name,
                code="invalid_value",
            )
        if len(value) < self.min_length:
            raise RequestError(f"Invalid '{name}': it cannot be an empty string.", param=name, code="empty_string")
        if self.max_length is not None and len(value) > self.max_length:
            raise RequestError(
                f"Invalid '{name}': string too long. Expected a string with maximum length {self.max_length}, but got a "
                f"string with length {len(value)} instead.",
                param=name,
                code="string_above_max_length",
            )
        return value

    def type_schema(self) -> Schema:
        if len(self.choices) == 1 and self.required:
            return {"const": self.choices[0]}
        schema: Schema = {"type": "string"}
        if self.choices:
            schema["enum"] = list(self.choices)
        if self.min_length:
            schema["minLength"] = self.min_length
        if self.max_length is not None:
            schema["maxLength"] = self.max_length
        return schema


@dataclass(frozen=True)
class Integer(Field):
    """A whole number within limits."""

    minimum: int
    maximum: int | None = None

    def parse(self, name: str, value: Any) -> int:
        if type(value) is not int:  # isinstance would accept booleans
            raise type_error(name, "an integer", value)
        if value < self.minimum:
            raise RequestError(
                f"Invalid '{name}': integer below minimum value. Expected a value >= {self.minimum}.",
                param=name,
                code="integer_below_min_value",
            )
        if self.maximum is not None and value > self.maximum:
            raise RequestError(
                f"Invalid '{name}': integer above maximum value. Expected a value <= {self.maximum}.",
                param=name,
                code="integer_above_max_value",
            )
        return value

    def parse_text(self, name: str, text: str) -> int:
        return self.parse(name, int(text) if re.fullmatch("[0-9]{1,9}", text) else text)

    def type_schema(self) -> Schema:
        schema: Schema = {"type": "integer", "minimum": self.minimum}
        return schema if self.maximum is None else {**schema, "maximum": self.maximum}


@dataclass(frozen=True)
class Boolean(Field):
    """True or false."""

    def parse(self, name: str, value: Any) -> bool:
        if type(value) is not bool:
            raise type_error(name, "a boolean", value)
        return value

    def type_schema(self) -> Schema:
        return {"type": "boolean"}


@dataclass(frozen=True)
class Strings(Field):
    """An array of at least one string."""

    max_items: int

    def parse(self, name: str, value: Any) -> list[str]:
        if type(value) is not list or not value or {str} != set(map(type, value)):
            raise type_error(name, "an array of strings", value)
        check_length(name, value, self.max_items)
        return value

    def type_schema(self) -> Schema:
        return {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": self.max_items}


@dataclass(frozen=True)
class Numbers(Field):
    """An array of at least one number."""

    def parse(self, name: str, value: Any) -> list[float]:
        if type(value) is not list or not value or not {int, float}.issuperset(map(type, value)):
            raise type_error(name, "an array of numbers", value)
        return value

    def type_schema(self) -> Schema:
        return {"type": "array", "items": {"type": "number"}, "minItems": 1}


@dataclass(frozen=True)
class Inputs(Field):
    """Inputs to embed: a text, token ids, or an array of either. The validated value is always an array of inputs."""

    max_items: int

    def parse(self, name: str, value: Any) -> list[str] | list[list[int]]:
        if type(value) is str:
            value = [value]
        if type(value) is not list:
            raise type_error(name, _INPUT_TYPES, value)
        if not value:
            raise RequestError(
                f"Invalid '{name}': the array is empty; give at least one input.", param=name, code="empty_array"
            )
        types = set(map(type, value))
        if types == {int}:
            return [value]
        check_length(name, value, self.max_items)
        if types == {str} or types == {list}:
            if not all(value):
                index = next(index for index, item in enumerate(value) if not item)
                empty = "string" if types == {str} else "array"
                raise RequestError(
                    f"Invalid '{name}[{index}]': input cannot be an empty {empty}.", param=name, code=f"empty_{empty}"
                )
            # One pass over all ids is faster than one per array.
            if types == {list} and set(map(type, chain.from_iterable(value))) != {int}:
                index, item = next((n, item) for n, ids in enumerate(value) for item in ids if type(item) is not int)
                raise type_error(f"{name}[{index}]", "an array of integers", item)
            return value
        for index, item in enumerate(value):
            if type(item) not in (str, int, list):
                raise type_error(f"{name}[{index}]", "a string, an integer or an array of integers", item)
        raise RequestError(
            f"Invalid '{name}': its items are of several types; expected {_INPUT_TYPES}.",
            param=name,
            code="invalid_type",
        )

    def type_schema(self) -> Schema:
        text: Schema = {"type": "string", "minLength": 1}
        ids: Schema = {"type": "array", "items": {"type": "integer"}, "minItems": 1}
        arrays: list[Schema] = [
            {"type": "array", "items": item, "minItems": 1, "maxItems": self.max_items} for item in (text, ids)
        ]
        return {"oneOf": [text, arrays[0], ids, arrays[1]]}


@dataclass(frozen=True)
class Metadata(Field):
    """An object of strings."""

    max_items: int
    max_name_length: int
    max_value_length: int

    def parse(self, name: str, value: Any) -> dict[str, str]:
        if type(value) is not dict:
            raise type_error(name, "an object", value)
        if len(value) > self.max_items:
            raise RequestError(
                f"Invalid '{name}': at most {self.max_items} pairs.", param=name, code="object_above_max_properties"
            )
        for key, text in value.items():
            if type(text) is not str:
                raise type_error(f"{name}.{key}", "a string", text)
            if len(key) > self.max_name_length or len(text) > self.max_value_length:
                raise RequestError(
                    f"Invalid '{name}': names have at most {self.max_name_length} characters, values at most "
                    f"{self.max_value_length}.",
                    param=name,
                    code="string_above_max_length",
                )
        return value

    def type_schema(self) -> Schema:
        return {
            "type": "object",
            "maxProperties": self.max_items,
            "propertyNames": {"maxLength": self.max_name_length},
            "additionalProperties": {"type": "string", "maxLength": self.max_value_length},
        }


@dataclass(frozen=True)
class Object(Field):
    """An object with exactly these fields: the body of a request, a form, a query string, or a field of a body."""

    fields: Mapping[str, Field] = field(default_factory=dict)

    def parse(self, name: str, value: Any) -> dict[str, Any]:
        """Return the validated values of all fields. ``name`` is empty for a whole body."""
        if type(value) is not dict:
            raise type_error(name, "an object", value)
        result, fields = self._defaults.copy(), self.fields
        for key, item in value.items():
            each = fields.get(key)
            if each is None:
                unknown = [abbreviate(key) for key in value if key not in fields]
                plural = "s" if len(unknown) > 1 else ""
                raise RequestError(f"Unrecognized request argument{plural} supplied: {', '.join(unknown[:10])}")
            if item is not None:
                result[key] = each.parse(f"{name}.{key}" if name else key, item)
        for key in self._required:
            if result[key] is None:
                self.fields[key].parse_missing(f"{name}.{key}" if name else key)
        return result

    @cached_property
    def _defaults(self) -> dict[str, Any]:
        return {key: each.default for key, each in self.fields.items()}

    @cached_property
    def _required(self) -> tuple[str, ...]:
        return tuple(key for key, each in self.fields.items() if each.required)

    def parse_strings(self, values: Mapping[str, str]) -> dict[str, Any]:
        """Return the validated values of a form or query string, all of whose values are strings.

        Raises:
            RequestError: A field is missing or unknown, has a wrong type or is outside of its limits.
        """
        for key in values:
            if key not in self.fields:
                raise RequestError(
                    f"Unrecognized request argument supplied: {abbreviate(key)}", code="unknown_parameter"
                )
        return {
            key: each.parse_text(key, values[key]) if key in values else each.parse_missing(key)
            for key, each in self.fields.items()
        }

    def type_schema(self, *, nullable: bool = True) -> Schema:
        """Return the JSON schema. Optional fields may be null unless ``nullable`` is False."""
        return {
            "type": "object",
            "properties": {
                name: each.json_schema(nullable=nullable and not each.required) for name, each in self.fields.items()
            },
            "required": [name for name, each in self.fields.items() if each.required],
            "additionalProperties": False,
        }

    def query_parameters(self) -> list[Schema]:
        """Return the fields as parameters of a query string, in the format of OpenAPI."""
        return [
            {"name": name, "in": "query", "schema": each.json_schema(nullable=False)}
            for name, each in self.fields.items()
        ]
