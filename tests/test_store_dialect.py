"""One text per statement: what SQLite reads, said in PostgreSQL's words."""

import ast
import re
from pathlib import Path

import pytest

from hub.store.dialect import SINGLE, table_and_columns, translate
from hub.store.engine import padded

ROOT = Path(__file__).resolve().parents[1]
CASES = [
    ("SELECT a FROM t WHERE b = ? AND c > ?", "SELECT a FROM t WHERE b = $1 AND c > $2", (SINGLE, SINGLE)),
    ("DELETE FROM t WHERE a = ? AND b IN (?,?,?)", "DELETE FROM t WHERE a = $1 AND b = ANY($2)", (SINGLE, 3)),
    ("SELECT 1 FROM t WHERE a NOT IN (?, ?) AND b = ?", "SELECT 1 FROM t WHERE a <> ALL($1) AND b = $2", (2, SINGLE)),
    ("SELECT 1 FROM t WHERE a IN ()", "SELECT 1 FROM t WHERE a = ANY($1)", (0,)),
    ("SELECT 1 FROM t WHERE a IN (1, 2) AND b IN (SELECT c FROM u WHERE d = ?)",
     "SELECT 1 FROM t WHERE a IN (1, 2) AND b IN (SELECT c FROM u WHERE d = $1)", (SINGLE,)),
    ("SELECT json_group_array(json_array(hex(a), coalesce(b, '('))) FROM t",
     "SELECT coalesce(json_agg(json_build_array(hex(a), coalesce(b, '('))), '[]') FROM t", ()),
    ("SELECT json_array((SELECT json_group_array(n) FROM t), 1)",
     "SELECT json_build_array((SELECT coalesce(json_agg(n), '[]') FROM t), 1)", ()),
    ("UPDATE t SET a = x'' WHERE b = x'00fF'", "UPDATE t SET a = '\\x'::bytea WHERE b = '\\x00fF'::bytea", ()),
    ("SELECT 1 FROM t u INDEXED BY t_open WHERE a = 1", "SELECT 1 FROM t u WHERE a = 1", ()),
    ("SELECT '?', 'it''s (?', a FROM t WHERE b = ?", "SELECT '?', 'it''s (?', a FROM t WHERE b = $1", (SINGLE,)),
]  # fmt: skip


@pytest.mark.parametrize(("given", "said", "shape"), CASES)
def test_each_row_of_the_table_is_translated(given: str, said: str, shape: tuple[int, ...]) -> None:
    assert translate(given) == (said, shape)


def test_values_follow_their_marks_and_padding_is_dropped() -> None:
    """An IN list becomes one array; what `padded` repeated to keep texts few costs nothing here."""
    keys = padded([7, 8, 9, 10, 11])
    sql = f"SELECT 1 FROM t WHERE a = ? AND b IN ({','.join('?' * len(keys))}) AND c = ?"
    assert translate(sql).values(["x", *keys, "y"]) == ["x", [7, 8, 9, 10, 11], "y"]
    assert translate("SELECT 1 FROM t WHERE a IN ()").values([]) == [[]]
    plain = (1, 2)
    assert translate("SELECT 1 FROM t WHERE a = ? AND b = ?").values(plain) is plain


def test_an_into_is_taken_apart() -> None:
    assert table_and_columns("audit(id, kind)") == ("audit", ("id", "kind"))
    with pytest.raises(AssertionError):
        table_and_columns("audit")


ONLY_SQLITE = re.compile(
    r"\b(iif|ifnull|zeroblob|group_concat|total|glob|datetime|strftime|julianday|last_insert_rowid|changes)\(|"
    r"\bOR (IGNORE|REPLACE)\b|\bsqlite_master\b|\bPRAGMA\b|\bROWID\b",
    re.IGNORECASE,
)
STATEMENT = re.compile(r"\b(SELECT|INSERT|UPDATE|DELETE|WHERE|SET|FROM)\b")
OWN = {  # files that speak to SQLite alone
    "hub/identity/local_store.py", "hub/operations/backup.py", "hub/operations/doctor.py", "hub/operations/drill.py",
    "hub/operations/restore.py", "hub/store/migrate.py", "hub/store/move_source.py", "hub/store/sqlite.py",
    "hub/store/wal.py",
}  # fmt: skip


def test_no_statement_of_the_house_uses_what_only_sqlite_knows() -> None:
    """Every text constant outside the files that are SQLite's own."""
    found = []
    for path in sorted((ROOT / "hub").rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if name in OWN or name.startswith(("hub/bench/", "hub/store/migrations/")):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docs = {id(node.body[0].value) for node in ast.walk(tree) if _has_doc(node)}  # type: ignore[attr-defined]  # _has_doc says so
        found += [
            f"{name}:{node.lineno} {node.value[:60]}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs
            and STATEMENT.search(node.value) and ONLY_SQLITE.search(node.value)
        ]  # fmt: skip
    assert found == []


def _has_doc(node: ast.AST) -> bool:
    body = getattr(node, "body", None)
    if not isinstance(body, list) or not body or not isinstance(body[0], ast.Expr):
        return False
    return isinstance(body[0].value, ast.Constant)
