"""Saves that a real fault stops: the old checkpoint is whole, nothing else is left, and the error says why."""

import errno
import fcntl
import functools
import itertools
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import multiparam as mp
from multiparam.checkpoint import atomic, safetensors, shards

OLD = {"0.weight": np.full((300, 4), 1.0), "0.bias": np.full(300, 2.0)}
NEW = {f"{index}.weight": np.full((300, 4), float(index)) for index in range(3)}
ONE, SHARDS = None, "10KB"  # each tensor of NEW is a shard

sizes = pytest.mark.parametrize("size", [ONE, SHARDS], ids=["one file", "shards"])
ages = pytest.mark.parametrize("old", [ONE, "5KB"], ids=["over one file", "over shards"])


@pytest.fixture
def path(tmp_path, old):
    """A checkpoint that is there already, alone in a folder."""
    (tmp_path / "model").mkdir()
    path = tmp_path / "model" / "net.safetensors"
    mp.save(OLD, path, shard_size=old)
    return path


def contents(folder):
    return {one.name: one.read_bytes() for one in folder.iterdir()}


def is_old(path):
    found = mp.load(path)
    return found.keys() == OLD.keys() and all(np.array_equal(found[name], OLD[name]) for name in OLD)


@contextmanager
def refused(path, why):
    """Expects a save to fail, and all to be as it was."""
    before = contents(path.parent)
    with pytest.raises(mp.CheckpointError) as caught:
        yield
    assert caught.value.path.parent == path.parent  # of several files it names the one that it is
    assert why in caught.value.why
    assert "nothing was changed" in caught.value.why
    assert contents(path.parent) == before
    assert is_old(path)


@contextmanager
def without_privileges():
    """As a user for whom permissions hold, which root is not."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def full(monkeypatch):
    """From the given temporary file on, what is written goes to a device that is full."""

    def fill(first):
        real, made = os.open, []

        def opened(path, flags, *more, **options):
            descriptor = real(path, flags, *more, **options)
            if str(path).endswith(".tmp"):
                made.append(path)
                if len(made) > first:
                    os.close(descriptor)
                    return real("/dev/full", os.O_WRONLY)
            return descriptor

        monkeypatch.setattr(os, "open", opened)
        return made

    return fill


@ages
@sizes
def test_a_full_disk_changes_nothing_whichever_file_it_stops(path, full, size, monkeypatch):
    count = 1 if size is ONE else len(NEW) + 1  # the index is a file too
    for first in range(count):
        made = full(first)
        with refused(path, "No space left on device"):
            mp.save(NEW, path, shard_size=size)
        monkeypatch.undo()
        assert len(made) == first + 1
    full(count)
    mp.save(NEW, path, shard_size=size)
    assert not is_old(path)


LIMITED = """
import resource, signal, sys
import numpy as np
import multiparam as mp
path, limits = sys.argv[1], [int(one) for one in sys.argv[2:]]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
mp.open(path)
for limit in limits:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, -1))
    tensors = {f"{index}.weight": np.full((300, 4 + index), float(index)) for index in range(3)}
    try:
        mp.save(tensors, path, shard_size="10KB")
    except mp.CheckpointError as error:
        print(error)
"""


@ages
def test_a_limit_on_the_size_of_files_changes_nothing_wherever_it_stops(path, old):
    before = contents(path.parent)
    limits = [0, 1, 8, 100, 500, 4096, 9_000, 9_650, 10_000, 12_000, 14_000]  # the last within the third shard
    shown = subprocess.run(
        [sys.executable, "-c", LIMITED, path, *map(str, limits)], capture_output=True, text=True, check=True
    )
    lines = shown.stdout.splitlines()
    assert len(lines) == len(limits)
    assert all(line.endswith("cannot be written: File too large; nothing was changed") for line in lines)
    assert all(line.startswith(str(path.parent)) for line in lines)
    assert contents(path.parent) == before
    assert is_old(path)


FILLING = """
import os, sys
import numpy as np
import multiparam as mp
folder, size = sys.argv[1], sys.argv[2] or None
path = f"{folder}/net.safetensors"
mp.save({"x": np.ones(1000)}, path)
old = {name: open(f"{folder}/{name}", "rb").read() for name in os.listdir(folder)}
free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
step = os.statvfs(folder).f_frsize
failures = 0
for left in range(0, free, step):
    with open(f"{folder}/ballast", "wb") as ballast:
        ballast.write(bytes(free - left))
    try:
        mp.save({f"{index}": np.full(2000, float(index)) for index in range(3)}, path, shard_size=size)
    except mp.CheckpointError as error:
        assert str(error).endswith("cannot be written: No space left on device; nothing was changed"), error
        os.unlink(f"{folder}/ballast")
        assert {name: open(f"{folder}/{name}", "rb").read() for name in os.listdir(folder)} == old
        assert mp.load(path)["x"].sum() == 1000
        failures += 1
    else:
        assert sorted(mp.load(path)) == ["0", "1", "2"]
        break
else:
    raise AssertionError("it never fitted")
print(failures)
"""


@functools.lru_cache
def mounts():
    """Whether a process may have a file system of its own here, which containers often may not."""
    command = ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return shutil.which("unshare") is not None and not subprocess.run(command, capture_output=True).returncode


@pytest.mark.skipif(
    not mounts(), reason="no file system may be mounted here; a full device and a limit stand in for it"
)
@sizes
def test_a_file_system_that_is_full_at_any_page_changes_nothing(tmp_path, size):
    mounted = ["sh", "-c", 'mount -t tmpfs -o size=256k tmpfs "$0" && exec "$@"', tmp_path]
    program = [sys.executable, "-c", FILLING, tmp_path, size or ""]
    command = ["unshare", "--user", "--map-root-user", "--mount", *mounted, *program]
    shown = subprocess.run(command, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert int(shown.stdout) > 10


@ages
@sizes
def test_a_folder_that_may_not_be_written_into_changes_nothing(path, size, monkeypatch):
    monkeypatch.chdir(path.parent)  # the folders above it may be closed to others
    path.parent.chmod(0o555)
    try:
        with refused(Path(path.name), "Permission denied"), without_privileges():
            mp.save(NEW, path.name, shard_size=size)
    finally:
        path.parent.chmod(0o755)


@sizes
@pytest.mark.parametrize("folder", ["/proc", "/sys"])
def test_a_file_system_that_takes_no_files_says_so_to_root_too(size, folder):
    with pytest.raises(mp.CheckpointError, match=rf"{folder}/net.* cannot be written: .*; nothing was changed"):
        mp.save(NEW, f"{folder}/net.safetensors", shard_size=size)


@sizes
def test_a_folder_in_the_place_of_a_file_is_kept(tmp_path, size):
    for name in ("net.safetensors", "net.safetensors.index.json"):
        folder = tmp_path / name / "inside"
        folder.mkdir(parents=True)
        with pytest.raises(mp.CheckpointError, match=rf"{name}: .*is a folder"):
            mp.save(NEW, tmp_path / "net.safetensors", shard_size=size)
        assert [*tmp_path.rglob("*")] == [folder.parent, folder]
        shutil.rmtree(folder.parent)


@sizes
def test_what_is_no_regular_file_is_not_replaced(tmp_path, size):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    (tmp_path / "loop").symlink_to("loop")
    for name, why in (("pipe", "no regular file"), ("link", "no regular file"), ("loop", "levels of symbolic")):
        with pytest.raises(mp.CheckpointError, match=rf"(pipe|{name}): cannot be written: .*{why}"):
            mp.save(NEW, tmp_path / name, shard_size=size)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["link", "loop", "pipe"]
    assert (tmp_path / "pipe").is_fifo()
    assert (tmp_path / "loop").is_symlink()


@sizes
def test_a_name_is_as_long_as_names_may_be(tmp_path, size):
    longest = "重" * 80 + ".safetensors"  # of 252 bytes, while shards and index have longer ones
    mp.save(NEW, tmp_path / longest)
    assert len(mp.open(tmp_path / longest)) == 3
    for name in ("a" * 256, "重" * 86):
        with pytest.raises(mp.CheckpointError, match="cannot be written: File name too long; nothing was changed"):
            mp.save(NEW, tmp_path / name, shard_size=size)
    with pytest.raises(mp.CheckpointError, match="cannot be written: File name too long; nothing was changed"):
        mp.save(OLD, tmp_path / longest, shard_size="5KB")
    assert [one.name for one in tmp_path.iterdir()] == [longest]


@pytest.fixture
def steps(monkeypatch):
    """What a save does to the disk, in its order."""
    done, names = [], {}

    def note(name, real, about):
        def call(*arguments, **options):
            result = real(*arguments, **options)
            done.append((name, about(result, *arguments)))
            return result

        monkeypatch.setattr(os, name, call)

    def made(descriptor, path, flags, *_):
        names[descriptor] = "folder" if flags & os.O_DIRECTORY else Path(path).parent / "temporary"
        return names[descriptor]

    note("open", os.open, made)
    note("fsync", os.fsync, lambda _, descriptor: names[descriptor])
    note("replace", os.replace, lambda _, source, target: Path(target).name)
    return done


def test_files_are_synced_before_they_are_renamed_and_the_index_is_the_last(tmp_path, steps):
    mp.save(NEW, tmp_path / "net.safetensors", shard_size=SHARDS)
    temporary = tmp_path / "temporary"  # in the same folder: a rename from another would be no single step
    each = [("open", temporary), ("fsync", temporary), ("replace", "?"), ("open", "folder"), ("fsync", "folder")]
    assert [(name, "?" if name == "replace" else about) for name, about in steps] == each * 4
    renamed = [about for name, about in steps if name == "replace"]
    assert renamed == [*(f"net-0000{n}-of-00003.safetensors" for n in (1, 2, 3)), "net.safetensors.index.json"]


def folder_sync(monkeypatch, error, after=0):
    """Has the syncing of folders fail."""
    real, synced = os.fsync, []

    def fsync(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            synced.append(descriptor)
            if len(synced) > after:
                raise error
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


@sizes
def test_a_folder_that_cannot_be_synced_is_said_and_nothing_taken_back(tmp_path, monkeypatch, size):
    last = 0 if size is ONE else len(NEW)
    folder_sync(monkeypatch, OSError(errno.EIO, os.strerror(errno.EIO)), after=last)
    with pytest.raises(mp.CheckpointError, match=r"is written, but a power failure may undo it: .*Input/output error"):
        mp.save(NEW, tmp_path / "net.safetensors", shard_size=size)
    assert mp.open(tmp_path / "net.safetensors").verify() == (3, 0)


@ages
def test_an_interrupt_behind_the_index_leaves_both_checkpoints(path, monkeypatch, old):
    folder_sync(monkeypatch, KeyboardInterrupt(), after=len(NEW))
    with pytest.raises(KeyboardInterrupt):
        mp.save(NEW, path, shard_size=SHARDS)
    index = path.with_name(f"{path.name}.index.json")
    assert mp.open(index).verify() == (3, 0)
    assert mp.load(index).keys() == NEW.keys()
    monkeypatch.undo()
    if old is ONE:  # the single file goes last, when the index is sure to outlive a power failure
        assert is_old(path)
        mp.save(NEW, path, shard_size=SHARDS)
    assert mp.load(path).keys() == NEW.keys()


# one that comes between the end of a with block and its exit leaves the closing to the garbage collector, which says so
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@ages
@sizes
def test_an_interrupt_at_any_line_leaves_a_whole_checkpoint(path, size):
    files = {shards.__file__, safetensors.__file__, atomic.__file__}
    olds = contents(path.parent)

    def interrupted(at):
        """Whether a save was, at its line of that number."""
        lines = iter(range(at + 1))

        def trace(frame, event, _):
            if frame.f_code.co_filename not in files:
                return None
            if event == "line" and next(lines, None) is None:
                raise KeyboardInterrupt
            return trace

        previous = sys.gettrace()
        sys.settrace(trace)
        try:
            mp.save(NEW, path, shard_size=size)
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(previous)
        return False

    for at in itertools.count():
        if not interrupted(at):
            break
        assert is_old(path) or mp.load(path).keys() == NEW.keys()
        assert mp.open(path).verify()[1] == 0
        assert not [*path.parent.glob(".*.tmp")]
        for one in path.parent.iterdir():
            one.unlink()
        for name, data in olds.items():
            (path.parent / name).write_bytes(data)
    assert at > 50


def test_file_systems_that_sync_no_folders_are_written_to(tmp_path, monkeypatch):
    folder_sync(monkeypatch, OSError(errno.EINVAL, os.strerror(errno.EINVAL)))
    mp.save(NEW, tmp_path / "net.safetensors")
    assert len(mp.open(tmp_path / "net.safetensors")) == 3


@ages
def test_a_file_that_may_not_be_read_says_so(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    for one in path.parent.iterdir():
        one.chmod(0)
    path.parent.chmod(0o755)
    with without_privileges():
        for attempt in (mp.open, mp.load):
            with pytest.raises(mp.CheckpointError, match=r"^net\.safetensors.*: Permission denied$"):
                attempt(path.name)


@pytest.fixture
def path_of_one(tmp_path):
    mp.save(OLD, tmp_path / "net.safetensors")
    tmp_path.chmod(0o755)
    return tmp_path / "net.safetensors"


def test_a_save_removes_what_killed_saves_left(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic, "FORSAKEN", 1e5)  # which this test does not take

    def left(name, age):
        path = tmp_path / name
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age,) * 2)
        return path

    forsaken = left(".model.safetensors.0123456789abcdef.tmp", 1e6)
    others = [
        left(".model.safetensors.fedcba9876543210.tmp", 1),  # may be about to be locked
        left(".another.safetensors.0123456789abcdef.tmp", 1e6),
        left(".model.safetensors.0123456789abcdef.tmp.mine", 1e6),
        left(".model.safetensors.mine.tmp", 1e6),
    ]
    locked = left(".model.safetensors.00000000000000ff.tmp", 1e6)
    with locked.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        mp.save({"a": np.zeros(3)}, tmp_path / "model.safetensors")
    assert not forsaken.exists()
    assert all(path.exists() for path in [*others, locked])
