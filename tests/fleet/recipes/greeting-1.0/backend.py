"""Builds a wheel without any other package, so that nothing need be downloaded for it."""

from zipfile import ZipFile

INFO = "greeting-1.0.dist-info"


def build_wheel(directory, config_settings=None, metadata_directory=None):
    name = "greeting-1.0-py3-none-any.whl"
    with ZipFile(f"{directory}/{name}", "w") as wheel:
        wheel.writestr("greeting.py", 'greeting = "hello"\n')
        wheel.write("PKG-INFO", f"{INFO}/METADATA")
        wheel.writestr(
            f"{INFO}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        files = ["greeting.py", f"{INFO}/METADATA", f"{INFO}/WHEEL", f"{INFO}/RECORD"]
        wheel.writestr(f"{INFO}/RECORD", "".join(f"{file},,\n" for file in files))
    return name
