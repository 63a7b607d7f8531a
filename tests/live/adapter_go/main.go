// An adapter written from ADAPTERS.md alone, in a language without a sample: its state is a journal of JSON lines, forced to the disk
// before anything is answered. It is there to show that the standard is enough.
package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

type object = map[string]any

// A line of the journal: what happened to the message of that id.
type line struct {
	What   string          `json:"what"` // "in", "in-done", "out", "begun", "again", "done", "native"
	ID     string          `json:"id"`
	Thread string          `json:"thread,omitempty"`
	Body   json.RawMessage `json:"body,omitempty"`
}

type message struct {
	id, thread string
	body       json.RawMessage
	begun      bool
}

type fault struct {
	Answer string  `json:"answer"`
	Thread *string `json:"thread"`
	Times  int     `json:"times"`
	After  float64 `json:"retry_after_s"`
}

var (
	ark     = strings.TrimRight(os.Getenv("ARK"), "/")
	testing = os.Getenv("ARK_TESTING") == "1"
	keys    [][]byte

	lock    sync.Mutex
	journal *os.File
	known   = map[string]bool{}
	inbound []*message                // waiting for Ark, the oldest first
	threads = map[string][]*message{} // waiting for the channel, by thread
	workers = map[string]bool{}
	outbox  []json.RawMessage
	current *fault
	wake    = make(chan struct{}, 1)
)

const bodyMax = 1 << 20

// note makes a line durable and applies it; false when a message of this id is known. The lock is held.
func note(entry line) bool {
	key := entry.What + " " + entry.ID
	if (entry.What == "in" || entry.What == "out") && known[key] {
		return false
	}
	text, err := json.Marshal(entry)
	if err == nil {
		_, err = journal.Write(append(text, '\n'))
	}
	if err == nil {
		err = journal.Sync()
	}
	if err != nil {
		fmt.Println("the journal cannot be written:", err)
		os.Exit(1) // what is not durable is not acknowledged
	}
	apply(entry)
	return true
}

func apply(entry line) {
	switch entry.What {
	case "in":
		known["in "+entry.ID] = true
		inbound = append(inbound, &message{id: entry.ID, thread: entry.Thread, body: entry.Body})
	case "in-done":
		inbound = without(inbound, entry.ID)
	case "out":
		known["out "+entry.ID] = true
		threads[entry.Thread] = append(threads[entry.Thread], &message{id: entry.ID, thread: entry.Thread, body: entry.Body})
	case "begun", "again":
		for _, one := range threads[entry.Thread] {
			if one.id == entry.ID {
				one.begun = entry.What == "begun"
			}
		}
	case "done":
		threads[entry.Thread] = without(threads[entry.Thread], entry.ID)
	case "native":
		outbox = append(outbox, entry.Body)
	}
}

func without(list []*message, id string) []*message {
	for at, one := range list {
		if one.id == id {
			return append(append([]*message{}, list[:at]...), list[at+1:]...)
		}
	}
	return list
}

func load() {
	file, err := os.OpenFile(os.Getenv("DB"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		panic(err)
	}
	content, err := io.ReadAll(file)
	if err != nil {
		panic(err)
	}
	// A last line that a kill cut off was never acknowledged: it is cut away.
	whole := bytes.LastIndexByte(content, '\n') + 1
	for _, text := range bytes.Split(content[:whole], []byte{'\n'}) {
		var entry line
		if len(text) > 0 && json.Unmarshal(text, &entry) == nil {
			apply(entry)
		}
	}
	if err := file.Truncate(int64(whole)); err != nil {
		panic(err)
	}
	if _, err := file.Seek(int64(whole), io.SeekStart); err != nil {
		panic(err)
	}
	journal = file
}

func sign(key []byte, id, at string, body []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + at + "."))
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

type refusal struct{ after time.Duration }

func (refusal) Error() string { return "not taken" }

func call(method, path, id string, body []byte) ([]byte, error) {
	at := strconv.FormatInt(time.Now().Unix(), 10)
	request, err := http.NewRequest(method, ark+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("content-type", "application/cloudevents+json")
	request.Header.Set("webhook-id", id)
	request.Header.Set("webhook-timestamp", at)
	request.Header.Set("webhook-signature", sign(keys[0], id, at, body))
	client := http.Client{Timeout: 10 * time.Second}
	answer, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	read, err := io.ReadAll(answer.Body)
	if answer.StatusCode/100 != 2 {
		seconds, wrong := strconv.ParseFloat(answer.Header.Get("retry-after"), 64)
		if wrong != nil {
			seconds = 0.5
		}
		return nil, refusal{time.Duration(seconds * float64(time.Second))}
	}
	return read, err
}

func event(kind, id, thread string, data object) json.RawMessage {
	data["thread"] = thread
	account := ark[strings.LastIndexByte(ark, '/')+1:]
	text, _ := json.Marshal(object{
		"specversion": "1.0", "type": kind, "id": id, "time": time.Now().UTC().Format(time.RFC3339Nano),
		"source":          "/ark/main/http/" + url.PathEscape(account) + "/" + url.PathEscape(thread),
		"datacontenttype": "application/json", "data": data,
	})
	return text
}

// carryIn brings Ark what waits, in order, each until Ark has it.
func carryIn() {
	for {
		lock.Lock()
		var head *message
		if len(inbound) > 0 {
			head = inbound[0]
		}
		lock.Unlock()
		if head == nil {
			select {
			case <-wake:
			case <-time.After(time.Second):
			}
			continue
		}
		var answer struct {
			Results []struct{ Status, Code, Message string }
		}
		body, err := call("POST", "/ark/v1/ingest", head.id, head.body)
		if err == nil {
			err = json.Unmarshal(body, &answer)
		}
		if err != nil || len(answer.Results) == 0 {
			pause := 500 * time.Millisecond
			var busy refusal
			if errors.As(err, &busy) {
				pause = busy.after
			}
			time.Sleep(pause)
			continue
		}
		if answer.Results[0].Status == "rejected" {
			fmt.Println("refused for good:", head.id, answer.Results[0])
		}
		lock.Lock()
		note(line{What: "in-done", ID: head.id})
		lock.Unlock()
	}
}

// native is the stand-in of the channel. The lock is held.
func native(entry object) (string, time.Duration) {
	answer, after := "none", 300*time.Millisecond
	if current != nil && (current.Thread == nil || *current.Thread == entry["thread"]) {
		answer = current.Answer
		if current.After > 0 {
			after = time.Duration(current.After * float64(time.Second))
		}
		if current.Times > 0 {
			if current.Times--; current.Times == 0 {
				current = nil
			}
		}
	}
	if answer == "none" || answer == "timeout" {
		text, _ := json.Marshal(entry)
		note(line{What: "native", ID: entry["id"].(string), Body: text})
	}
	return answer, after
}

func settle(one *message, what object) {
	what["message"] = one.id
	id := "receipt:" + one.id
	note(line{What: "in", ID: id, Thread: one.thread, Body: event("ark.receipt.v1", id, one.thread, what)})
	note(line{What: "done", ID: one.id, Thread: one.thread})
	rouse()
}

func failed(code string) object {
	return object{"state": "failed", "reason": object{"code": code, "retriable": false}}
}

func rouse() {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// carryOut gives the channel one thread's messages, one after the other, and ends when there is none. The lock is held at the start.
func carryOut(thread string) {
	workers[thread] = true
	go func() {
		for {
			lock.Lock()
			if len(threads[thread]) == 0 {
				delete(workers, thread)
				delete(threads, thread)
				lock.Unlock()
				return
			}
			head := threads[thread][0]
			if head.begun { // it was under way when the adapter was killed
				settle(head, failed("outcome_unknown"))
				lock.Unlock()
				continue
			}
			lock.Unlock()
			entry, err := given(head)
			if err != nil {
				time.Sleep(500 * time.Millisecond)
				continue
			}
			lock.Lock()
			note(line{What: "begun", ID: head.id, Thread: thread})
			answer, after := native(entry)
			switch answer {
			case "429", "500":
				note(line{What: "again", ID: head.id, Thread: thread})
				lock.Unlock()
				time.Sleep(after)
				continue
			case "refused":
				settle(head, failed("blocked"))
			case "timeout":
				settle(head, failed("outcome_unknown"))
			default:
				settle(head, object{"state": "sent"})
			}
			lock.Unlock()
		}
	}()
}

// given is what the channel is given of a message: words, and the bytes of files.
func given(one *message) (object, error) {
	var out struct {
		Data struct {
			Parts []struct {
				Kind, Text string
				Media      struct{ Ref string }
			}
		}
	}
	if err := json.Unmarshal(one.body, &out); err != nil {
		return nil, err
	}
	parts := []object{}
	for _, part := range out.Data.Parts {
		if part.Kind == "text" {
			parts = append(parts, object{"kind": "text", "text": part.Text})
			continue
		}
		file, err := call("GET", "/ark/v1/media/"+strings.TrimPrefix(part.Media.Ref, "ark-media:"), one.id, nil)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(file)
		parts = append(parts, object{"kind": part.Kind, "sha256": hex.EncodeToString(sum[:])})
	}
	return object{"id": one.id, "thread": one.thread, "parts": parts}, nil
}

func signed(request *http.Request, body []byte) bool {
	id, at := request.Header.Get("webhook-id"), request.Header.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(at, 10, 64)
	if age := time.Now().Unix() - seconds; err != nil || age > 300 || age < -300 {
		return false
	}
	good := false
	for _, entry := range strings.Fields(request.Header.Get("webhook-signature")) {
		for _, key := range keys {
			good = hmac.Equal([]byte(entry), []byte(sign(key, id, at, body))) || good
		}
	}
	return good
}

func reply(writer http.ResponseWriter, status int, value any) {
	writer.Header().Set("content-type", "application/json")
	writer.WriteHeader(status)
	_ = json.NewEncoder(writer).Encode(value)
}

func events(writer http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(writer, request.Body, bodyMax))
	if err != nil {
		reply(writer, http.StatusRequestEntityTooLarge, object{"error": "at most 1 MiB"})
		return
	}
	if !signed(request, body) {
		reply(writer, http.StatusUnauthorized, object{"error": "not signed by our gateway, or not now"})
		return
	}
	var list []json.RawMessage
	if !utf8.Valid(body) || json.Unmarshal(body, &list) != nil {
		reply(writer, http.StatusBadRequest, object{"error": "a list of events is expected"})
		return
	}
	results := []object{}
	for _, text := range list {
		results = append(results, take(text))
	}
	reply(writer, http.StatusOK, object{"results": results})
}

func take(text json.RawMessage) object {
	var one struct {
		ID, Type string
		Data     struct {
			Thread string
			Parts  []struct{ Kind string }
		}
	}
	if err := json.Unmarshal(text, &one); err != nil || one.ID == "" {
		return object{"id": one.ID, "status": "rejected", "code": "schema"}
	}
	if one.Type != "ark.message.out.v1" {
		return object{"id": one.ID, "status": "rejected", "code": "type"}
	}
	for _, part := range one.Data.Parts {
		if part.Kind != "text" && part.Kind != "image" {
			return object{"id": one.ID, "status": "rejected", "code": "parts"}
		}
	}
	lock.Lock()
	defer lock.Unlock()
	if !note(line{What: "out", ID: one.ID, Thread: one.Data.Thread, Body: text}) {
		return object{"id": one.ID, "status": "duplicate"}
	}
	if !workers[one.Data.Thread] {
		carryOut(one.Data.Thread)
	}
	return object{"id": one.ID, "status": "accepted"}
}

func inject(writer http.ResponseWriter, request *http.Request) {
	var said struct {
		ID, Thread string
		Text       *string
		File       *struct{ Kind, Name, Base64 string }
		Native     struct{ Type, Words string }
	}
	if err := json.NewDecoder(request.Body).Decode(&said); err != nil {
		reply(writer, http.StatusBadRequest, object{"error": err.Error()})
		return
	}
	parts := []object{}
	switch {
	case said.Text != nil:
		for letters := []rune(*said.Text); len(letters) > 0; {
			end := len(letters)
			if end > 20000 {
				end = 20000
			}
			parts = append(parts, object{"kind": "text", "text": string(letters[:end])})
			letters = letters[end:]
		}
	case said.File != nil:
		file, err := base64.StdEncoding.DecodeString(said.File.Base64)
		var media json.RawMessage
		if err == nil {
			query := url.Values{"kind": {said.File.Kind}, "name": {said.File.Name}}
			media, err = call("POST", "/ark/v1/media?"+query.Encode(), said.ID, file)
		}
		if err != nil {
			reply(writer, http.StatusServiceUnavailable, object{"error": "the file is not kept yet"})
			return
		}
		parts = append(parts, object{"kind": said.File.Kind, "media": media})
	default:
		parts = append(parts, object{"kind": "unsupported", "native_type": said.Native.Type, "fallback_text": said.Native.Words})
	}
	data := object{"sender": object{"role": "customer", "id": said.Thread}, "parts": parts}
	lock.Lock()
	note(line{What: "in", ID: said.ID, Thread: said.Thread, Body: event("ark.message.in.v1", said.ID, said.Thread, data)})
	lock.Unlock()
	rouse()
	reply(writer, http.StatusOK, object{})
}

func hooks() {
	http.HandleFunc("/inject", inject)
	http.HandleFunc("/outbox", func(writer http.ResponseWriter, request *http.Request) {
		after, _ := strconv.Atoi(request.URL.Query().Get("after"))
		lock.Lock()
		defer lock.Unlock()
		entries := []json.RawMessage{}
		if after < len(outbox) {
			entries = outbox[after:]
		}
		reply(writer, http.StatusOK, entries)
	})
	http.HandleFunc("/fault", func(writer http.ResponseWriter, request *http.Request) {
		lock.Lock()
		defer lock.Unlock()
		current = &fault{}
		if err := json.NewDecoder(request.Body).Decode(current); err != nil || current.Answer == "none" {
			current = nil
		}
		reply(writer, http.StatusOK, object{})
	})
}

func main() {
	for _, name := range []string{"SECRET", "OLD_SECRET"} {
		if text := os.Getenv(name); text != "" {
			key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, "whsec_"))
			if err != nil {
				panic(err)
			}
			keys = append(keys, key)
		}
	}
	load()
	both := object{"in": true, "out": true}
	manifest := object{
		"ark_adapter": "1", "id": "journal-go", "version": "1.0.0", "channel": "journal",
		"transport":    object{"mode": "http", "url": "http://127.0.0.1:" + os.Getenv("PORT"), "max_batch": 256},
		"capabilities": object{"text": both, "image": both},
		"identity":     object{"key_kinds": []string{"custom"}}, "ordering": "per_thread",
		"dedup": object{"inbound_id": "native", "outbound_key_ttl_s": 604800}, "limits": object{},
	}
	if testing {
		manifest["testing"] = object{"inject": "/inject", "outbox": "/outbox", "fault": "/fault"}
		hooks()
	}
	http.HandleFunc("/.well-known/ark-adapter", func(writer http.ResponseWriter, _ *http.Request) { reply(writer, 200, manifest) })
	http.HandleFunc("/ark/v1/health", func(writer http.ResponseWriter, _ *http.Request) { reply(writer, 200, object{"status": "ok"}) })
	http.HandleFunc("/ark/v1/events", events)
	lock.Lock()
	for thread := range threads {
		carryOut(thread)
	}
	lock.Unlock()
	go carryIn()
	fmt.Println(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}
