"""Drives a real server with the client that openapi-python-client generated: sign in, add a node, queue, claim, list.

    drive.py BASE_URL EMAIL PASSWORD     with the generated package `client` on PYTHONPATH
"""

import sys

from client import AuthenticatedClient, Client
from client.api.agents import complete, output, pending
from client.api.jobs import cancel, detail, list_jobs, queue
from client.api.nodes import add_node, list_nodes
from client.api.people import login, show_me
from client.models import (
    AddNode,
    Chunk,
    CompleteRequest,
    ErrorBody,
    JobStatus,
    LoginRequest,
    OutputRequest,
    QueueRequest,
    QueueRequestParamsType0,
    Stream,
)

base_url, email, password = sys.argv[1:]

session = login.sync(client=Client(base_url), body=LoginRequest(email=email, password=password))
person = AuthenticatedClient(base_url, token=session.token)
assert show_me.sync(client=person).email == email

added = add_node.sync(client=person, body=AddNode(id="generated-client", name="Generated client"))
assert [node.id for node in list_nodes.sync(client=person).nodes].count("generated-client") == 1
again = add_node.sync_detailed(client=person, body=AddNode(id="generated-client"))
assert again.status_code == 409 and isinstance(again.parsed, ErrorBody), again

params = QueueRequestParamsType0.from_dict({"text": "from a generated client"})
request = QueueRequest(preset="note", node_id="generated-client", params=params)
first = queue.sync(client=person, body=request, idempotency_key="drive")
assert first.status == JobStatus.QUEUED and first.started_at is None and first.exit_code is None, first
assert queue.sync(client=person, body=request, idempotency_key="drive").id == first.id
second = queue.sync(client=person, body=request)
refused = queue.sync(client=person, body=QueueRequest(preset="unheard-of", node_id="generated-client"))
assert refused.code == "preset_not_found", refused

agent = AuthenticatedClient(base_url, token=added.token)
claimed = pending.sync(client=agent, node_id="generated-client", agent="one", wait=0)
assert claimed.job.id == first.id, claimed
chunk = Chunk(stream=Stream.STDOUT, offset=0, data="hello\n")
taken = output.sync(first.id, client=agent, agent="one", body=OutputRequest(chunks=[chunk]))
assert taken.stdout_bytes == 6, taken
ended = complete.sync(first.id, client=agent, agent="one", body=CompleteRequest(exit_code=0))
assert ended.status == JobStatus.SUCCEEDED, ended

assert detail.sync(first.id, client=person).stdout == "hello\n"
assert cancel.sync(second.id, client=person).status == JobStatus.CANCELLED
listed = list_jobs.sync(client=person, status=[JobStatus.CANCELLED], node_id="generated-client", limit=1)
assert [job.id for job in listed.jobs] == [second.id], listed
assert listed.next_cursor is None, listed
print("the generated client signed in, added a node, ran, cancelled and listed jobs")
