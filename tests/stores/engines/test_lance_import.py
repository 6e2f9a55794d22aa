"""LanceDB is imported without the client of its hosted service, which stays usable."""

import subprocess
import sys

CODE = """
import sys
import umekomi.stores.engines.lance
print([name for name in sys.modules if name.startswith("lance_namespace_urllib3_client.api.")])
import lance_namespace_urllib3_client
print(lance_namespace_urllib3_client.ApiClient.__name__)
"""


def test_the_client_is_imported_only_when_it_is_needed() -> None:
    output = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True).stdout
    assert output.splitlines() == ["[]", "ApiClient"]
