"""A Hugging Face Hub on loopback, for tests that use the real, unmodified clients.

    with HubServer() as hub:
        hub.add_user("ada", "hf_ada")
        hub.add_repo("model", "ada/tiny", folder, private=True)
        hub.fail(Fault("cut_answer", path="/commit/"))
        subprocess.run(command, env=hub.environ(tmp_path / "hf", token="hf_ada"))
        assert hub.tags("model", "ada/new") == {"v1": hub.head("model", "ada/new")}

Clients can read, create repos, commit, tag and sign in. A request travels transport -> app
(identity, routing table) -> one handler -> store. Everything below the transport takes and
returns plain values and never sees a socket.
"""

from tests.hub_server.faults import Fault
from tests.hub_server.record import RecordedRequest
from tests.hub_server.server import HubServer

__all__ = ["Fault", "HubServer", "RecordedRequest"]
