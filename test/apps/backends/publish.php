<?php
$answer = file_get_contents(getenv('GATEWAY') . '/publish', false, stream_context_create(['http' => [
    'method' => 'POST',
    'header' => [
        'Authorization: Bearer ' . getenv('TOKEN'),
        'Content-Type: application/json',
        'Idempotency-Key: order-7-paid',
    ],
    'content' => json_encode(['channel' => 'room.42', 'event' => 'order.paid', 'data' => ['order' => 7]]),
]]));
exit($answer === false ? 1 : 0);
