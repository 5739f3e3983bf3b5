"""What several of the core's test files do."""

import random
import subprocess
import sys

import pytest


@pytest.fixture
def killed():
    """Runs a program, which says that it is ready, again and again, and kills it within so many turns of a loop."""

    def kill(code, path, times, turns):
        rng = random.Random(0)
        for number in range(times):
            process = subprocess.Popen(
                [sys.executable, "-c", code, str(number), str(path)], stdout=subprocess.PIPE, text=True
            )
            assert process.stdout.readline() == "ready\n"
            for _ in range(rng.randrange(turns)):  # a slow machine waits longer, and its program takes as long
                pass
            process.kill()
            process.wait()
            process.stdout.close()
            yield number

    return kill
