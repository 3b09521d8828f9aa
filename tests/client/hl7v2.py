"""HL7 v2 clients against the MLLP listener: hl7v2.py WHAT PORT [...]. Uses python-hl7 to speak and hl7apy, strict, to judge what comes back."""
import socket, ssl, sys
import hl7
from hl7.client import MLLPClient
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message


def judge(text):
    """hl7apy's own tables of 2.5.1: segments, fields, cardinalities, data types."""
    return parse_message(text, validation_level=VALIDATION_LEVEL.STRICT, find_groups=True)


def msh(kind, control):
    structure = {"ADT^A01": "ADT_A01", "ADT^A08": "ADT_A01", "ADT^A11": "ADT_A09", "ORU^R01": "ORU_R01"}[kind]
    return f"MSH|^~\\&|ADT1|GOOD|VITAE|SITE|20190304050607||{kind}^{structure}|{control}|P|2.5.1\r"


PID = "PID|1||70001^^^HOSP^MR||QUETZALCOATLUSSON^EVE||19500615|F\r"
PV1 = "PV1|1|I|||||||||||||||||V1" + "|" * 25 + "20190304\r"


def adt(trigger, control):
    return msh(f"ADT^{trigger}", control) + f"EVN|{trigger}|20190304050600\r" + PID + PV1


def oru(control, value):
    return msh("ORU^R01", control) + PID + PV1 + "OBR|1|||24323-8^CMP^LN|||201903050708\r" + f"OBX|1|NM|2160-0^Crea^LN||{value}|mg/dL|||||F\r"


def exchange(port, tls=None):
    client = MLLPClient("127.0.0.1", port)
    if tls:
        client.socket.close()
        client.socket = tls.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="localhost")
    with client:
        for kind, text, want in (("adt", adt("A01", "PY1"), "AA"), ("adt again", adt("A01", "PY1"), "AA"), ("oru", oru("PY2", "1.4"), "AA"),
                                 ("unknown", msh("ADT^A01", "PY3").replace("ADT^A01^ADT_A01", "QRY^A19^QRY_A19"), "AR"),
                                 ("no patient", msh("ADT^A01", "PY4") + "EVN|A01|2019\r", "AE"), ("bad value", oru("PY5", "eleven"), "AA")):
            answer = client.send_message(hl7.parse(text)).decode().strip("\x0b\x1c\r")
            parsed = hl7.parse(answer)
            code, control = str(parsed.segment("MSA")[1]), str(parsed.segment("MSA")[2])
            assert code == want and control == text.split("|")[9], (kind, answer)
            assert "QUETZAL" not in answer and "eleven" not in answer, answer
            judge(answer + "\r" if not answer.endswith("\r") else answer)
    print(f"    python-hl7{' over TLS' if tls else ''}: 6 messages, acknowledgements strictly valid by hl7apy")


def place(port):
    """A destination: takes one result, judges it, acknowledges it; makes the result by sending messages itself."""
    import asyncio
    from hl7.mllp import start_hl7_server
    got = asyncio.get_event_loop_policy().new_event_loop()
    asyncio.set_event_loop(got)
    done = got.create_future()

    async def take(reader, writer):
        message = await reader.readmessage()
        writer.writemessage(message.create_ack())
        await writer.drain()
        if not done.done():
            done.set_result(str(message))

    async def run():
        server = await start_hl7_server(take, host="127.0.0.1", port=int(sys.argv[3]))
        async with server:
            text = await asyncio.wait_for(done, 600)
        return text
    text = got.run_until_complete(run())
    message = judge(text if text.endswith("\r") else text + "\r")
    assert message.msh.msh_9.to_er7() == "ORU^R01^ORU_R01"
    obx = [o for o in text.split("\r") if o.startswith("OBX|")]
    assert obx and 0 < float(obx[0].split("|")[5]) < 1 and obx[0].split("|")[11] == "P"
    assert "PID|1||70001^^^HOSP^MR||QUETZALCOATLUSSON^EVE||19500615|F" in text
    print(f"    a destination by python-hl7: ORU^R01 with {len(obx)} OBX, strictly valid by hl7apy")


what, port = sys.argv[1], int(sys.argv[2])
if what == "exchange":
    exchange(port)
elif what == "tls":
    context = ssl.create_default_context(cafile=sys.argv[3])
    if len(sys.argv) > 4:
        context.load_cert_chain(sys.argv[4], sys.argv[5])
    exchange(port, context)
elif what == "send":
    with MLLPClient("127.0.0.1", port) as client:
        for i, text in enumerate((adt("A01", f"{sys.argv[3]}1"), oru(f"{sys.argv[3]}2", "1.9"), adt("A08", f"{sys.argv[3]}3"))):
            assert b"|AA|" in client.send_message(text)
elif what == "place":
    place(port)
