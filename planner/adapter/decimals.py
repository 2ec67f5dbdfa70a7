"""Sums and products of DECIMALs, so that DuckDB binds them to the same type a second time.

A bound ``a + b`` has both arguments cast to the type of the result. Written as it stands, it would
be bound to a type one digit wider, and slower where that needs more than 64 bits. So the casts are
taken off again; where that does not give back the type, a cast of the result does.
"""

from __future__ import annotations

from decimal import Decimal

from starling_py.planner.expressions import Call, Cast, Expression, Literal

__all__ = ["decimal_product", "decimal_sum", "width_and_scale"]

_WIDEST = 38
_WIDEST_IN_64_BITS = 18


def width_and_scale(type_: str) -> tuple[int, int] | None:
    """Return the width and scale of a DECIMAL type, or ``None`` for another type."""
    if not (type_.startswith("DECIMAL(") and type_.endswith(")")):
        return None
    width, scale = type_[8:-1].split(",")
    return int(width), int(scale)


def decimal_sum(name: str, arguments: tuple[Expression, ...], type_: str) -> Expression:
    """Return ``a + b`` or ``a - b`` of the DECIMAL ``type_`` as the binder understood it."""
    narrow = tuple(_narrowed(argument, type_) for argument in arguments)
    if _bound_type(narrow) == type_:
        return Call(name, narrow, type_, "infix")
    rebound = _bound_type(arguments)
    if rebound == type_:
        return Call(name, arguments, type_, "infix")
    return Cast(Call(name, arguments, rebound or type_, "infix"), type_)


def decimal_product(arguments: tuple[Expression, ...], type_: str) -> Expression:
    """Return ``a * b`` of the DECIMAL ``type_`` as the binder understood it.

    Both arguments have been cast to the width of the result, so that the product is bound to twice
    that, up to the most that so many bits hold. The values are the same.
    """
    known = [width_and_scale(argument.type) for argument in arguments]
    sizes = [size for size in known if size is not None]
    if len(sizes) < len(known):
        return Call("*", arguments, type_, "infix")
    width, scale = sum(w for w, _ in sizes), sum(s for _, s in sizes)
    if width > _WIDEST_IN_64_BITS >= max(w for w, _ in sizes) and scale < _WIDEST_IN_64_BITS:
        width = _WIDEST_IN_64_BITS
    rebound = f"DECIMAL({min(width, _WIDEST)},{scale})"
    made = Call("*", arguments, rebound, "infix")
    return made if rebound == type_ else Cast(made, type_)


def _bound_type(arguments: tuple[Expression, ...]) -> str | None:
    """Return the type to which DuckDB binds the sum of two DECIMALs."""
    known = [width_and_scale(argument.type) for argument in arguments]
    if None in known:
        return None
    sizes = [size for size in known if size is not None]
    scale = max(s for _, s in sizes)
    width = max(max(w - s for w, s in sizes) + scale, max(w for w, _ in sizes)) + 1
    return f"DECIMAL({min(width, _WIDEST)},{scale})"


def _narrowed(argument: Expression, type_: str) -> Expression:
    match argument:
        case Cast(argument=inner, type=outer, lenient=False) if outer == type_:
            return inner if width_and_scale(inner.type) else argument
        case Literal(value=Decimal() as value):
            return _shortest(value)
    return argument


def _shortest(value: Decimal) -> Literal:
    plain = value.normalize()
    exponent = plain.as_tuple().exponent
    scale = max(0, -exponent) if isinstance(exponent, int) else 0
    text = f"{plain:f}"
    digits = len(text.lstrip("-").replace(".", "").lstrip("0"))
    type_ = f"DECIMAL({max(digits, scale, 1)},{scale})"
    return Literal(f"CAST('{text}' AS {type_})", type_, value)
