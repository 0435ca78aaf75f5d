import json, os, urllib.request

request = urllib.request.Request(
    os.environ["GATEWAY"] + "/publish",
    json.dumps({"channel": "room.42", "event": "order.paid", "data": {"order": 7}}).encode(),
    {
        "Authorization": "Bearer " + os.environ["TOKEN"],
        "Content-Type": "application/json",
        "Idempotency-Key": "order-7-paid",
    },
)
print(json.load(urllib.request.urlopen(request)))
