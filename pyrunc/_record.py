"""A frozen record that costs nothing at import.

The type checker takes a record for a frozen dataclass (`dataclass_transform`). Importing `dataclasses` itself would cost 13 ms,
and building 60 frozen dataclasses 40 ms more, on the path of every `create`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar, dataclass_transform

    _T = TypeVar("_T")


def _init(self: Any, *args: Any, **kwargs: Any) -> None:
    cls = type(self)
    values = self.__dict__
    for name, value in zip(cls.__annotations__, args, strict=False):
        values[name] = value
    values.update(kwargs)
    if len(values) != len(cls.__annotations__):
        for name in cls.__annotations__:
            if name not in values and not hasattr(cls, name):
                raise TypeError(f"{cls.__name__}: missing {name}")


def _eq(self: object, other: object) -> object:
    if type(self) is not type(other):
        return NotImplemented
    names = type(self).__annotations__
    return all(getattr(self, name) == getattr(other, name) for name in names)


def _repr(self: object) -> str:
    names = type(self).__annotations__
    return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"


def _hash(self: object) -> int:
    return hash(tuple(getattr(self, name) for name in type(self).__annotations__))


def _setattr(self: object, name: str, _value: object) -> None:
    raise AttributeError(f"{type(self).__name__}.{name} is frozen")


def _record(cls: type[_T]) -> type[_T]:
    for name, method in _METHODS.items():
        setattr(cls, name, method)
    return cls


_METHODS = {"__init__": _init, "__eq__": _eq, "__repr__": _repr, "__hash__": _hash, "__setattr__": _setattr}

if TYPE_CHECKING:

    @dataclass_transform(frozen_default=True)
    def record(cls: type[_T]) -> type[_T]:
        """Turn a class with annotations (defaults as class attributes) into a frozen record.

        Annotations must be strings (`from __future__ import annotations`), their order is the order of the positional
        arguments. There is no inheritance of fields: one class, one list.
        """
        return cls
else:
    record = _record
