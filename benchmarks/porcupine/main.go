// Checks a history with Porcupine for benchmarks/checker.py: `porcupine register|kv FILE SECONDS` prints one JSON object.
//
// FILE has one operation a line: key, function, argument, answer or second argument, invocation, return (-1: never answered),
// parted by tabs. go.mod names what it needs; build it beside a copy of github.com/anishathalye/porcupine:
//
//	go mod edit -replace github.com/anishathalye/porcupine=COPY && go build -o porcupine .
package main

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/anishathalye/porcupine"
)

type input struct {
	key, f     string
	a, b       int
	text       string
	unanswered bool
}

// An operation that was never answered may take effect at any time or never. With its return at the end of the history that is
// right: a write can stand last, and an unanswered cas is legal in every state and changes only the one that it expects.
var register = porcupine.Model{
	Init: func() interface{} { return 0 },
	Step: func(state, in, _ interface{}) (bool, interface{}) {
		op := in.(input)
		switch op.f {
		case "read":
			return op.a == state.(int), state
		case "write":
			return true, op.a
		}
		if op.a == state.(int) {
			return true, op.b
		}
		return op.unanswered, state
	},
	Hash: func(state interface{}) uint64 { return uint64(state.(int)) },
}

var kv = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		parts := map[string][]porcupine.Operation{}
		for _, op := range history {
			key := op.Input.(input).key
			parts[key] = append(parts[key], op)
		}
		var found [][]porcupine.Operation
		for _, part := range parts {
			found = append(found, part)
		}
		return found
	},
	Init: func() interface{} { return "" },
	Step: func(state, in, _ interface{}) (bool, interface{}) {
		op := in.(input)
		switch op.f {
		case "get":
			return op.text == state.(string), state
		case "put":
			return true, op.text
		}
		return true, state.(string) + op.text
	},
}

func load(path string) []porcupine.Operation {
	file, err := os.Open(path)
	if err != nil {
		panic(err)
	}
	defer file.Close()
	var history []porcupine.Operation
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		part := strings.Split(lines.Text(), "\t")
		a, _ := strconv.Atoi(part[2])
		b, _ := strconv.Atoi(part[3])
		call, _ := strconv.ParseInt(part[4], 10, 64)
		end, _ := strconv.ParseInt(part[5], 10, 64)
		op := input{part[0], part[1], a, b, part[2], end < 0}
		if end < 0 {
			end = math.MaxInt64
		}
		history = append(history, porcupine.Operation{Input: op, Call: call, Return: end})
	}
	return history
}

func main() {
	model := register
	if os.Args[1] == "kv" {
		model = kv
	}
	history := load(os.Args[2])
	seconds, _ := strconv.Atoi(os.Args[3])
	var before, after syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	began := time.Now()
	verdict := porcupine.CheckOperationsTimeout(model, history, time.Duration(seconds)*time.Second)
	wall := time.Since(began).Seconds()
	syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	used := time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
	fmt.Printf("{\"verdict\": %q, \"cpu\": %.6f, \"wall\": %.6f, \"peak_mb\": %d}\n", verdict, used.Seconds(), wall, after.Maxrss/1024)
}
