"""A Hugging Face Hub on loopback, for tests that use the real, unmodified clients.

    with HubServer() as hub:
        hub.add_user("ada", "hf_ada")
        hub.add_repo("model", "ada/tiny", folder, private=True)
        subprocess.run(command, env=hub.environ(tmp_path / "hf", token="hf_ada"))

A request travels transport -> app (identity, routing table) -> one handler -> store. Everything
below the transport takes and returns plain values and never sees a socket.
"""

from tests.hub_server.faults import Fault
from tests.hub_server.record import RecordedRequest
from tests.hub_server.server import HubServer

__all__ = ["Fault", "HubServer", "RecordedRequest"]
