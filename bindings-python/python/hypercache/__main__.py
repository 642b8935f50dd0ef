"""`python -m hypercache`: version, build, and the pools and stores of this process."""

import hypercache


def main() -> None:
    """Prints what is known."""
    print(f"hypercache {hypercache.version()}")
    print(f"build      {hypercache.build_info()}")
    print(f"library    {hypercache.get_library_dir()}")
    print(f"headers    {hypercache.get_include()}")
    text = hypercache.metrics_text().strip()
    names = [line for line in text.splitlines() if not line.startswith("#")]
    print(f"pools and stores of this process ({len(names)} figures)")
    print(text or "(none)")


if __name__ == "__main__":
    main()
