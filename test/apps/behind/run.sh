export JWT_SECRET=$(openssl rand -base64 32)
python3 echo.py 9000 &
npx ws-gateway proxy --to ws://127.0.0.1:9000 &
sleep 3
npx ws-gateway try --url ws://127.0.0.1:8765 --token "$(npx ws-gateway token --sub ada)" --raw hello
