import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("motedet.report", ("matplotlib", "jinja2", "rich", "PIL")),
        ("motedet.report.tables", ("matplotlib", "jinja2", "PIL")),
        ("motedet.report.drawing", ("matplotlib", "jinja2", "rich")),
    ],
)
def test_a_module_costs_only_what_it_needs(module: str, absent: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print([n for n in {absent} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
