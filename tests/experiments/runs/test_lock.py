"""Locks on run folders: held by one process, where the file system has locks."""

import errno
import os

import pytest

from experiments.program.errors import ExperimentError
from experiments.runs.folder import RunFolder
from experiments.runs.lock import FolderLock, is_locked


def test_a_folder_is_held_by_one_until_it_is_released(tmp_path):
    lock = FolderLock(tmp_path)
    assert is_locked(tmp_path)
    with pytest.raises(ExperimentError, match="another process is running in"):
        FolderLock(tmp_path)
    lock.release()
    assert not is_locked(tmp_path)
    FolderLock(tmp_path).release()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_where_the_file_system_has_no_locks_runs_are_possible(tmp_path, monkeypatch, number):
    def flock(file, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", flock)
    lock = FolderLock(tmp_path)
    assert not is_locked(tmp_path)
    lock.release()


def test_a_folder_whose_name_is_not_utf_8_is_refused_before_anything_is_written(tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    with pytest.raises(ExperimentError, match=r"--workdir .*caf.udce9 is not UTF-8, which checkpoints need"):
        RunFolder(folder, resume=False, overwrite=False)
    assert not folder.exists()
