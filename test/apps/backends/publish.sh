curl --fail --silent "$GATEWAY/publish" \
  --header "Authorization: Bearer $TOKEN" \
  --header "Content-Type: application/json" \
  --header "Idempotency-Key: order-7-paid" \
  --data '{"channel": "room.42", "event": "order.paid", "data": {"order": 7}}'
