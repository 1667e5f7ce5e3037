"""The README's code runs as it stands, in an empty folder, in order."""

import os
import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCK = re.compile(r"<!-- (file: (?P<file>\S+)|run|shell) -->\n```(?P<kind>\w+)\n(?P<code>.*?)```", re.DOTALL)


def test_the_readme_runs(tmp_path: Path) -> None:
    done = 0
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path}
    for block in BLOCK.finditer(README):
        if block["file"]:
            (tmp_path / block["file"]).parent.mkdir(parents=True)
            (tmp_path / block["file"]).write_text(block["code"])
            continue
        command = ["bash", "-euc", block["code"]] if block["kind"] == "bash" else [sys.executable, "-c", block["code"]]
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
        assert ran.returncode == 0, f"{block['code']}\n{ran.stdout}\n{ran.stderr}"
        done += 1
    assert done == 6
