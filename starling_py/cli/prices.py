"""``starling prices``: what requests, bytes and seconds cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from starling_py.shuffle.prices import Prices

__all__ = ["prices"]

_THOUSAND = 1_000
_MILLION = 1_000_000


@click.command()
@click.option(
    "--prices",
    "file",
    metavar="FILE",
    help="What differs, as TOML or JSON.  [default: $STARLING_PRICES]",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(("text", "toml", "json")),
    default="text",
    show_default=True,
    help="For people, or as a file to change.",
)
def prices(file: str | None, format_: str) -> None:
    """Show the prices that queries are priced with.

    They are AWS's of one region on one day. A file with other ones is named with --prices, or in
    the environment variable STARLING_PRICES.
    """
    from starling_py.prices import load_prices

    table = load_prices(file)
    if format_ == "json":
        import msgspec

        click.echo(msgspec.json.format(msgspec.json.encode(table), indent=2).decode())
    elif format_ == "toml":
        click.echo(_toml(table), nl=False)
    else:
        click.echo(_text(table))


def _toml(table: Prices) -> str:
    import msgspec

    fields = msgspec.structs.asdict(table)
    return "".join(
        f"{name} = {msgspec.json.encode(value).decode()}\n"
        if isinstance(value, str)
        else f"{name} = {value!r}\n"
        for name, value in fields.items()
    )


def _text(table: Prices) -> str:
    rows = (
        ("S3 GET, HEAD", table.get * _THOUSAND, "1,000 requests"),
        ("S3 PUT, LIST", table.put * _THOUSAND, "1,000 requests"),
        ("S3 DELETE", 0.0, "1,000 requests"),
        ("KMS", table.kms * 10 * _THOUSAND, "10,000 requests"),
        ("bytes to the internet", table.internet, "GB"),
        ("bytes to another region", table.other_region, "GB"),
        ("Lambda, calls", table.call * _MILLION, "1,000,000 calls"),
        ("Lambda, arm64", table.arm64, "GB and second"),
        ("Lambda, x86_64", table.x86_64, "GB and second"),
        (f"always on: {table.server}", table.server_hour, "hour"),
    )
    lines = [f"AWS in {table.region}, {table.date}"]
    lines += [f"  {name:<24} {_dollars(amount):>14} per {unit}" for name, amount, unit in rows]
    return "\n".join(lines)


def _dollars(amount: float) -> str:
    whole, _, decimals = f"{amount:,.10f}".rstrip("0").partition(".")
    return f"${whole}.{decimals:0<2}"
