"""Ask whether anything is known against the versions that constraints.txt pins: `make audit`.

It needs the network. What cannot be asked about is a failure too: an audit that skipped something found nothing out.
"""

import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    pins = (ROOT / "constraints.txt").read_text("utf-8")
    torch = runpy.run_path(str(ROOT / "deploy" / "install.py"))["TORCH"]  # which constraints.txt leaves to it
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".txt") as file:
        file.write(f"{pins}torch=={torch}\n")
        file.flush()
        flags = ["--strict", "--disable-pip", "--no-deps", "--progress-spinner", "off", "--requirement", file.name]
        audited = subprocess.run([sys.executable, "-m", "pip_audit", *flags, *sys.argv[1:]], check=False)
    if audited.returncode:
        sys.exit("The audit failed or found vulnerabilities, see above.")
    print(f"No known vulnerabilities in any of the {len(pins.splitlines()) + 1} versions.")


if __name__ == "__main__":
    main()
