"""Open an agency's database. Its URL may hold a password: it comes from the environment or a file, and is never told.

A database's own words may hold values of its rows, so an error names the driver's error code and what was tried.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, NoSuchTableError, SQLAlchemyError

from agency_adapters.errors import AgencyError
from agency_adapters.rules import did_you_mean

_HOW = "Give env:NAME or file:PATH; a URL itself only where it holds no password."


class DatabaseRefused(AgencyError):
    """The database did not do what was asked. It may, later."""


def open_database(reference: str, environment: Mapping[str, str] = os.environ, *, create: bool = False) -> sa.Engine:
    """Open what `env:NAME`, `file:PATH` or a URL without a password points at. Connects at first use.

    A SQLite file has to be there already, unless it may be made (`create`): a typing mistake is not a new database.
    """
    url = _url(reference, environment)
    file = url.database if url.get_backend_name() == "sqlite" else None
    if file and file != ":memory:" and not create and not Path(file).is_file():
        raise AgencyError("there is no SQLite file where the database URL points", remedy="Check the path in the URL.")
    try:
        return sa.create_engine(url, hide_parameters=True, pool_pre_ping=True)
    except ModuleNotFoundError as error:
        remedy = f"Install it beside hub-agency: pip install {error.name}."
        raise AgencyError(f"the database driver {error.name} is not installed", remedy=remedy) from None
    except (ArgumentError, NoSuchModuleError, TypeError, ValueError):
        raise AgencyError("the database URL names a kind of database that is not known", remedy=_HOW) from None


def _url(reference: str, environment: Mapping[str, str]) -> sa.URL:
    kind, _, rest = reference.partition(":")
    if kind == "env":
        text = environment.get(rest, "")
        if not text:
            raise AgencyError(f"the environment has no {rest}", remedy=f"Set {rest} to the database's URL.")
    elif kind == "file":
        try:
            text = Path(rest).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise AgencyError("the file with the database's URL cannot be read", remedy=_HOW) from error
    else:
        text = reference
    try:
        url = sa.make_url(text)
    except (ArgumentError, ValueError):  # their words repeat the URL
        remedy = f"Write it like sqlite:///agency.sqlite or postgresql+psycopg://USER@HOST/NAME. {_HOW}"
        raise AgencyError("the database URL is none", remedy=remedy) from None
    if kind not in ("env", "file") and url.password is not None:
        raise AgencyError("the database URL holds a password, and others can see it here", remedy=_HOW)
    return url


@contextmanager
def told(doing: str) -> Iterator[None]:
    """Turn a database's error into ours: what was being done and the driver's error code, without values."""
    try:
        yield
    except SQLAlchemyError as error:
        origin = getattr(error, "orig", None)
        code = getattr(origin, "sqlstate", None) or getattr(origin, "sqlite_errorname", None)
        name = f"{type(origin or error).__name__}{f' {code}' if code else ''}"
        remedy = "Check the database and the rights of its user there; what was not finished comes again."
        # `from None`: a driver's message may hold a row's values or the connection's secrets
        raise DatabaseRefused(f"the database could not {doing}: {name}", remedy=remedy) from None


def split_name(table: str) -> tuple[str | None, str]:
    """Read `table` or `schema.table`."""
    schema, _, name = table.rpartition(".")
    return schema or None, name


def table_columns(engine: sa.Engine, table: str) -> dict[str, str]:
    """Return the columns of a table or view with their types, in order. Raises `AgencyError` where it is not there."""
    schema, name = split_name(table)
    with told(f"describe {table}"):
        inspector = sa.inspect(engine)
        try:
            return {str(one["name"]): _type(one["type"]) for one in inspector.get_columns(name, schema=schema)}
        except NoSuchTableError:
            there = [*inspector.get_table_names(schema=schema), *inspector.get_view_names(schema=schema)]
    raise AgencyError(f"the database has no table {table}", remedy=did_you_mean(name, there))


def query_columns(engine: sa.Engine, query: str) -> dict[str, str]:
    """Return the columns of a query; their types stay unknown. It is run for no row."""
    with told("run the mapping's query"), engine.connect() as connection:
        nothing = sa.select(sa.text("*")).select_from(verbatim(f"({query}) hub_rows")).where(sa.text("1 = 0"))
        return dict.fromkeys(map(str, connection.execute(nothing).keys()), "")


def verbatim(query: str) -> sa.TextClause:
    """Take a query as it is written: a colon in it names no parameter."""
    return sa.text(query.replace(":", "\\:"))


def primary_key(engine: sa.Engine, table: str) -> list[str]:
    """Return the columns of the table's primary key; none where there is none, or for a view."""
    schema, name = split_name(table)
    with told(f"describe {table}"):
        return list(sa.inspect(engine).get_pk_constraint(name, schema=schema)["constrained_columns"])


def _type(found: object) -> str:
    try:
        return str(found).lower()
    except SQLAlchemyError:  # a type of the database's own that has no name in SQL
        return ""
