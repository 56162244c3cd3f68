// Scenarios of go-stomp v3 over TCP: client '{"client":…,"scenarios":[…],"tcp":…}'
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-stomp/stomp/v3"
	"github.com/go-stomp/stomp/v3/frame"
)

var job struct {
	Client    string
	Scenarios []string
	TCP       string
	Seconds   struct{ Heartbeat int }
}

var shared struct {
	Text               string
	LargeBytes         int
	UnknownDestination string
}

var scenarios = map[string]func(){
	"connect": connect, "topic": topic, "queue": queue, "transaction": transaction, "receipts": receipts,
	"utf8": utf8, "binary": binary, "large": large, "rpc": rpc, "error": refusal, "heartbeat": heartbeat,
	"reconnect": reconnect,
}

var absent = map[string]string{
	"kind":   "TCP has no messages",
	"split":  "no such option: TCP has no messages to cut",
	"hidden": "no browser, no tab",
}

var notes = map[string]string{
	"heartbeat": "its default is one beat a minute: asked for 10 s both ways, and one connection with the default stays too",
}

func connect() {
	conn := open().Conn
	expect(conn.Version() == stomp.V12, "version %s", conn.Version())
	expect(conn.Session() != "" && conn.Server() != "", "CONNECTED without session or server")
	check(conn.Disconnect())
}

func topic() {
	reader, writer := open(), open()
	name := destination("/topic/", "topic")
	inbox := reader.subscribe(name, stomp.AckAuto)
	reader.settled()
	writer.send(name, "one", stomp.SendOpt.Header("x-price", "3.50"))
	writer.send(name, "two")
	one, two := next(inbox), next(inbox)
	expect(string(one.Body) == "one" && string(two.Body) == "two", "bodies %s, %s", one.Body, two.Body)
	expect(one.Header.Get("x-price") == "3.50", "x-price: %s", one.Header.Get("x-price"))
	expect(one.Destination == name, "destination: %s", one.Destination)
}

func queue() {
	link := open()
	name := destination("/queue/", "queue")
	link.send(name, "first")
	inbox := link.subscribe(name, stomp.AckClientIndividual)
	check(link.Nack(next(inbox)))
	again := next(inbox)
	expect(string(again.Body) == "first", "after the NACK came %s", again.Body)
	redelivered := again.Header.Get("redelivered")
	expect(redelivered == "true", "redelivered: %s after the NACK", redelivered)
	check(link.Ack(again))
	check(inbox.Unsubscribe())
	inbox = link.subscribe(name, stomp.AckAuto)
	link.send(name, "last")
	last := next(inbox)
	expect(string(last.Body) == "last", "after the ACK came %s", last.Body)
}

func transaction() {
	link := open()
	name := destination("/queue/", "transaction")
	inbox := link.subscribe(name, stomp.AckAuto)
	kept, dropped := link.Begin(), link.Begin()
	check(kept.Send(name, "text/plain", []byte("committed 1")))
	check(dropped.Send(name, "text/plain", []byte("aborted")))
	check(kept.Send(name, "text/plain", []byte("committed 2")))
	link.send(name, "outside")
	bodies := []string{string(next(inbox).Body)}
	check(dropped.Abort())
	check(kept.Commit())
	link.send(name, "end")
	for bodies[len(bodies)-1] != "end" {
		bodies = append(bodies, string(next(inbox).Body))
	}
	order := strings.Join(bodies, ", ")
	expect(order == "outside, committed 1, committed 2, end", "came as: %s", order)
}

func receipts() {
	link := open()
	name := destination("/topic/", "receipts")
	inbox := link.subscribe(name, stomp.AckAuto)
	link.send(name, "with a receipt", stomp.SendOpt.Receipt)
	next(inbox)
	inside := link.Begin()
	check(inside.Send(name, "text/plain", []byte("inside")))
	check(inside.CommitWithReceipt())
	next(inbox)
	check(inbox.Unsubscribe()) // waits for its RECEIPT, as Disconnect does
	check(link.Disconnect())
}

func utf8() {
	link := open()
	name := destination("/topic/", "utf8")
	inbox := link.subscribe(name, stomp.AckAuto)
	link.send(name, shared.Text, stomp.SendOpt.Header("x-greeting", shared.Text))
	message := next(inbox)
	expect(string(message.Body) == shared.Text, "body: %s", message.Body)
	expect(message.Header.Get("x-greeting") == shared.Text, "header: %s", message.Header.Get("x-greeting"))
}

func binary() {
	body := make([]byte, 1024)
	for at := range body {
		body[at] = byte(at)
	}
	got := echo(open(), "binary", body)
	expect(bytes.Equal(got, body), "%d bytes came back, not the 1,024 that were sent", len(got))
}

func large() {
	line := "hoofbeat 말발굽 소리 "
	body := []byte(strings.Repeat(line, shared.LargeBytes/len(line)+1))
	got := echo(open(), "large", body)
	expect(bytes.Equal(got, body), "%d bytes came back, not %d", len(got), len(body))
}

// The reply's queue is not subscribed to: with a reply-to header the library only listens for what comes from it.
func rpc() {
	asking, answering := open(), open()
	name := destination("/queue/", "rpc")
	requests := answering.subscribe(name, stomp.AckAuto)
	replies := asking.subscribe("", stomp.AckAuto, stomp.SubscribeOpt.Header("reply-to", "/temp-queue/replies"))
	for _, body := range []string{"first", "second"} {
		asking.send(name, body, stomp.SendOpt.Header("reply-to", "/temp-queue/replies"))
		request := next(requests)
		answering.send(request.Header.Get("reply-to"), string(request.Body)+" pong")
		reply := next(replies)
		expect(string(reply.Body) == body+" pong", "reply: %s", reply.Body)
	}
}

func refusal() {
	err := open().Send(shared.UnknownDestination, "text/plain", []byte("x"), stomp.SendOpt.Receipt)
	refused, isError := err.(*stomp.Error)
	if direct, ok := err.(stomp.Error); ok {
		refused, isError = &direct, true
	}
	expect(isError && refused.Message != "", "not an ERROR with a message: %v", err)
}

func heartbeat() {
	silent, beating := open(), open(stomp.ConnOpt.HeartBeat(10*time.Second, 10*time.Second))
	time.Sleep(time.Duration(job.Seconds.Heartbeat) * time.Second)
	for _, link := range []link{silent, beating} {
		expect(string(echo(link, "heartbeat", []byte("still there"))) == "still there", "another body")
	}
	in, out := beating.wire.beatsIn.Load(), beating.wire.beatsOut.Load()
	expect(in >= 2 && out >= 2, "%d beats in, %d out", in, out)
}

// The library does not reconnect: its users dial again when their subscription ends with an error.
func reconnect() {
	first := open()
	inbox := first.subscribe(destination("/topic/", "reconnect"), stomp.AckAuto)
	first.settled()
	report("reconnect", "waiting", "")
	lost := <-inbox.C
	expect(lost.Err != nil, "a message instead of the loss of the connection")
	again := func() []byte { return echo(open(), "reconnect", []byte("after the restart")) }
	got, err := again, fmt.Errorf("not yet")
	for tries := 0; err != nil && tries < 60; tries++ {
		time.Sleep(500 * time.Millisecond)
		err = attempt(func() { got() })
	}
	check(err)
}

// link is a connection and what goes over its wire.
type link struct {
	*stomp.Conn
	wire *wire
}

func open(options ...func(*stomp.Conn) error) link {
	socket, err := net.Dial("tcp", job.TCP)
	check(err)
	wire := &wire{Conn: socket}
	conn, err := stomp.Connect(wire, options...)
	check(err)
	return link{conn, wire}
}

func (l link) subscribe(name string, ack stomp.AckMode, options ...func(*frame.Frame) error) *stomp.Subscription {
	inbox, err := l.Subscribe(name, ack, options...)
	check(err)
	return inbox
}

func (l link) send(name, body string, options ...func(*frame.Frame) error) {
	check(l.Send(name, "text/plain", []byte(body), options...))
}

// settled waits until all that was sent before has been taken: the library cannot ask for the receipt of a SUBSCRIBE.
func (l link) settled() {
	l.send(destination("/topic/", "nobody"), "", stomp.SendOpt.Receipt)
}

func echo(l link, scenario string, body []byte) []byte {
	name := destination("/topic/", scenario)
	inbox := l.subscribe(name, stomp.AckAuto)
	check(l.Send(name, "application/octet-stream", body))
	return next(inbox).Body
}

func next(inbox *stomp.Subscription) *stomp.Message {
	select {
	case message := <-inbox.C:
		check(message.Err)
		return message
	case <-time.After(20 * time.Second):
		panic(fmt.Errorf("waited 20 s for a MESSAGE"))
	}
}

// wire logs what goes over a connection and counts its heart-beats.
type wire struct {
	net.Conn
	beatsIn, beatsOut atomic.Int64
}

func (w *wire) Read(into []byte) (int, error) {
	count, err := w.Conn.Read(into)
	trace("<<<", into[:count], &w.beatsIn)
	return count, err
}

func (w *wire) Write(octets []byte) (int, error) {
	trace(">>>", octets, &w.beatsOut)
	return w.Conn.Write(octets)
}

func trace(way string, octets []byte, beats *atomic.Int64) {
	if string(octets) == "\n" {
		beats.Add(1)
	}
	fmt.Fprintf(os.Stderr, "%s %q\n", way, octets[:min(len(octets), 500)])
}

var last atomic.Int64

func destination(prefix, scenario string) string {
	return fmt.Sprintf("%sgo-stomp-%s-%d-%d", prefix, scenario, os.Getpid(), last.Add(1))
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func expect(truth bool, otherwise string, values ...any) {
	if !truth {
		panic(fmt.Errorf(otherwise, values...))
	}
}

// attempt runs what may fail by check or expect, and returns how it failed.
func attempt(scenario func()) (err error) {
	defer func() {
		if failure := recover(); failure != nil {
			err = fmt.Errorf("%v", failure)
		}
	}()
	scenario()
	return nil
}

func report(scenario, result, detail string) {
	line := map[string]string{"client": job.Client, "scenario": scenario, "result": result, "detail": detail}
	check(json.NewEncoder(os.Stdout).Encode(line))
}

func main() {
	check(json.Unmarshal([]byte(os.Args[1]), &job))
	text, err := os.ReadFile("scenarios.json")
	check(err)
	check(json.Unmarshal(text, &shared))
	for _, name := range job.Scenarios {
		if reason, ok := absent[name]; ok {
			report(name, "absent", reason)
		} else if err := attempt(scenarios[name]); err != nil {
			report(name, "FAILED", err.Error())
		} else {
			report(name, "passed", notes[name])
		}
	}
}
