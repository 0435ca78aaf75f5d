package main

import ("io"; "net/http"; "os"; "golang.org/x/net/websocket")

func main() {
	http.Handle("/", websocket.Server{Handler: func(socket *websocket.Conn) { io.Copy(socket, socket) }})
	http.ListenAndServe("127.0.0.1:"+os.Args[1], nil)
}
