"""One engine that runs: started, awaited, paused, killed and started again over the same directory and port.

Everything about it stands in `engine.json` in its directory, mode 0600, the process with it: its pid, and when it was
started in this boot of the machine. So another process, or a later one, finds the same engine, and a pid that was given
to something else meanwhile is never taken for it. Linux only: process times and families come from /proc.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

STATE = "engine.json"
LOG = "log"
PROBE_EVERY_S = 0.05
STOP_S = 20.0  # a broker flushes its logs; what takes longer is killed
GONE_S = 10.0  # after SIGKILL the kernel still has to take memory and files back
LOG_TAIL_LINES = 8


class EngineError(Exception):
    """An engine that cannot be had: what is wrong, and the one thing to do about it."""

    def __init__(self, what: str, remedy: str, *, missing: bool = False) -> None:
        super().__init__(f"{what}. {remedy}")
        self.what, self.remedy = what, remedy
        self.missing = missing  # a program is not installed, so a test may be skipped; all else is a failure


@dataclass(frozen=True, slots=True)
class Engine:
    """A real engine over its own directory. Frozen: `pid` and the rest look up the process that runs there now."""

    name: str  # postgresql, kafka, opa
    directory: Path
    port: int
    address: str  # postgresql: a DSN; kafka: the bootstrap, host:port; opa: a URL. Always on 127.0.0.1
    command: tuple[str, ...]
    answers: Callable[["Engine"], object]  # raises any Exception until the engine really answers
    stop_signal: int = signal.SIGTERM
    patience_s: float = 30.0  # from the start to the first answer
    variables: Mapping[str, str] = field(default_factory=dict)  # of its environment, beside what this process has
    passwords: Mapping[str, str] = field(default_factory=dict, repr=False)  # kafka with SASL: by user, `admin` always

    @property
    def log(self) -> Path:
        return self.directory / LOG

    @property
    def pid(self) -> int:
        """Return the pid of the running process, 0 where none runs."""
        return running_pid(self.directory)

    def start(self) -> "Engine":
        """Start it and wait until it answers. Raises EngineError, and leaves nothing running then."""
        if self.pid:
            raise EngineError(
                f"{self.name} runs already over {self.directory} (pid {self.pid})", "Stop that one first."
            )
        must_be_free(self.port, self.name)
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=self.directory,
                env={**os.environ, **self.variables}, start_new_session=True,
            )  # fmt: skip
        _STARTED[process.pid] = process
        _write_state(self, process.pid)
        try:
            self._await_answer(time.monotonic() + self.patience_s)
        except BaseException:  # Ctrl-C as well: nobody would know of it otherwise
            self.kill()
            raise
        return self

    def start_again(self) -> "Engine":
        """Start it after `stop` or `kill`: same port, same data, another pid."""
        return self.start()

    def stop(self) -> None:
        """End it as an operator would, and wait for the end. One that does not run is fine."""
        if pid := self.pid:
            os.kill(pid, self.stop_signal)
            self.resume()  # a stopped process takes no signal but this one
            if not _gone([pid], STOP_S):
                self.kill()

    def kill(self) -> None:
        """End it and all its children by SIGKILL, as a power cut would (but for what the disk has not got yet)."""
        family = self._family(signal.SIGSTOP)  # first, so that none of them has a child meanwhile
        for pid in family:
            _signal(pid, signal.SIGKILL)
        if not _gone(family, GONE_S):
            raise EngineError(f"{self.name} outlived SIGKILL: {family}", "Look at the processes' state.")

    def pause(self) -> None:
        """Stop it and all its children where they stand (SIGSTOP): connections stay open and nobody answers."""
        self._family(signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on (SIGCONT)."""
        self._family(signal.SIGCONT)

    def log_tail(self, lines: int = LOG_TAIL_LINES) -> str:
        """Return the last lines that it wrote; empty where it wrote none."""
        said = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(f"  {line}" for line in said[-lines:])

    def _await_answer(self, deadline_s: float) -> None:
        while self.pid and time.monotonic() < deadline_s:
            try:
                self.answers(self)
                return
            except Exception:  # noqa: BLE001 - of whichever client asked; the deadline is what ends the asking
                time.sleep(PROBE_EVERY_S)
        why = f"did not answer within {self.patience_s:.0f} s" if self.pid else "ended by itself"
        raise EngineError(f"{self.name} on port {self.port} {why}:\n{self.log_tail()}", f"See {self.log}.")

    def _family(self, number: int) -> list[int]:
        """Signal the process and its children until no more of them appear; return them, parents first.

        PostgreSQL's children lead sessions of their own, so its process group is the postmaster alone.
        """
        pid, told = self.pid, list[int]()
        while fresh := [one for one in _with_children(pid) if one not in told]:
            for one in fresh:
                _signal(one, number)
            told += fresh
        return told


# Children of this process, by pid: an ended one stays a zombie until its parent has asked for it.
_STARTED: dict[int, subprocess.Popen[bytes]] = {}


def engine_at(directory: Path, answers: Mapping[str, Callable[[Engine], object]]) -> Engine | None:
    """Return the engine whose state stands in `directory`, running or not; None where there is none."""
    try:
        state = json.loads((directory / STATE).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    known = {**state["engine"], "directory": directory, "command": tuple(state["engine"]["command"])}
    return Engine(**known, answers=answers[known["name"]])


def running_pid(directory: Path) -> int:
    """Return the pid of the process that `directory`'s state names, 0 where that very process runs no more."""
    try:
        state = json.loads((directory / STATE).read_bytes())
    except FileNotFoundError:
        return 0
    pid = int(state["pid"])
    return pid if started_at(pid) == state["started"] else 0


def started_at(pid: int) -> str:
    """Name the moment a process was started, as no two processes of one pid share it; empty where it has ended.

    The clock ticks since boot (proc(5), stat, field 22) with the boot's id: after a boot they begin anew.
    """
    if (child := _STARTED.get(pid)) and child.poll() is not None:
        _STARTED.pop(pid, None)
        return ""
    fields = _stat(pid)
    if not fields or (fields[0] in "ZX" and _threads(pid) <= 1):
        return ""  # a zombie with threads still has its sockets: the JVM's first thread dies before the others
    return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {fields[19]}"


def runs_already(engine: Engine) -> EngineError:
    where = f"{engine.directory} (pid {engine.pid})"
    return EngineError(f"{engine.name} runs already over {where}", "Stop that one first, or use another directory.")


def free_port() -> int:
    """Return a free port below those that the system gives to outgoing connections.

    One of those could be taken by any client while an engine is down, even by one that calls that very port.
    """
    lowest_given = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = 10_000 + int.from_bytes(os.urandom(4), "big") % max(1, lowest_given - 10_000)
        if _is_free(port):
            return port


def must_be_free(port: int, name: str) -> None:
    if not _is_free(port):
        raise EngineError(
            f"Port {port} of 127.0.0.1, which {name} was to listen on, is in use by something else",
            "End that, or give the engine another port.",
        )


def program(name: str, install: str) -> str:
    """Return the whole path of a program. Raises EngineError with the one command that installs it."""
    found = shutil.which(name)
    if found is None:
        raise EngineError(f"{name} is missing", f"Install it: {install}", missing=True)
    return found


def ran(command: list[str], what: str, **variables: str) -> None:
    """Run a command to its end. Raises EngineError with what it said where it failed."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env={**os.environ, **variables}
    )
    if done.returncode:
        said = "\n".join(f"  {line}" for line in (done.stdout + done.stderr).splitlines()[-LOG_TAIL_LINES:])
        raise EngineError(
            f"{what} failed (exit code {done.returncode}):\n{said}", "Remove its directory to begin anew."
        )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that linger take no port
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _write_state(engine: Engine, pid: int) -> None:
    kept = {key: value for key, value in asdict(engine).items() if key not in ("answers", "directory")}
    path = engine.directory / STATE
    fresh = path.with_suffix(f".{os.getpid()}")
    fresh.touch(mode=0o600)
    fresh.write_text(json.dumps({"pid": pid, "started": started_at(pid), "engine": kept}, indent=1))
    fresh.replace(path)


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the name, which may hold spaces: state first, parent second."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _threads(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/task"))
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _with_children(pid: int) -> list[int]:
    parents = {int(one.name): _stat(int(one.name)) for one in Path("/proc").iterdir() if one.name.isdigit()}
    family = [pid] if pid else []
    for one in family:  # grows while it is walked
        family += [child for child, fields in parents.items() if fields and int(fields[1]) == one]
    return family


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # ended by itself meanwhile


def _gone(pids: list[int], within_s: float) -> bool:
    deadline_s = time.monotonic() + within_s
    while any(started_at(pid) for pid in pids):
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.01)
    return True
