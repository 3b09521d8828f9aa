"""What every client test ends with: @check("name") runs a function and prints a line that scripts/run-tests counts; finish() exits 1 if one failed."""
import sys

failed = []


def check(name):
    def run(f):
        try:
            f()
            print(f"[       OK ] {name}")
        except Exception as e:  # noqa: BLE001: a test reports whatever went wrong
            print(f"{name}: {type(e).__name__}: {e}\n[  FAILED  ] {name}")
            failed.append(name)

    return run


def finish():
    sys.exit(1 if failed else 0)
