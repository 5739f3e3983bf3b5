"""What several of the core's test files do."""

import random
import subprocess
import sys
import time

import pytest


@pytest.fixture
def killed():
    """Runs a program, which says that it is ready, again and again, and kills it at random moments."""

    def kill(code, path, times, within):
        rng = random.Random(0)
        for number in range(times):
            process = subprocess.Popen(
                [sys.executable, "-c", code, str(number), str(path)], stdout=subprocess.PIPE, text=True
            )
            assert process.stdout.readline() == "ready\n"
            end = time.perf_counter() + rng.random() * within
            while time.perf_counter() < end:
                pass
            process.kill()
            process.wait()
            process.stdout.close()
            yield number

    return kill
