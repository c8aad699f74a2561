// Command guest is what the test images hold besides busybox: one static program that acts by its file's name.
//
//	nginx, httpd   a web server with one page; its argument is the port
//	effective-uid  prints its effective user, which its file's set-user-ID bit may have changed
//	echo           sends back what comes over a connection; its argument is the port
//	pause          waits to be ended
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// What the command line of a started web server begins with; the tests tell it by this from a process that merely
// is about to become one.
const title = ": master process"

func main() {
	path, err := os.Executable()
	if err != nil {
		log.Fatalf("finding out this program's name: %v", err)
	}
	switch name := filepath.Base(path); name {
	case "nginx", "httpd":
		log.Fatalf("%s: %v", name, serve(path, name))
	case "echo":
		log.Fatalf("echo: %v", echo())
	case "effective-uid":
		fmt.Printf("Effective uid: %d\n", os.Geteuid())
	case "pause":
		<-ending()
	default:
		log.Fatalf("%q is no name that this program acts by", name)
	}
}

// ending tells of signals to end, which the first process of a PID namespace would not even notice otherwise.
func ending() <-chan os.Signal {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	return signals
}

// port reads the only argument.
func port() (uint64, error) {
	if len(os.Args) != 2 {
		return 0, fmt.Errorf("%d arguments, not just a port", len(os.Args)-1)
	}
	return strconv.ParseUint(os.Args[1], 10, 16)
}

// serve leaves its process ID where web servers do, takes their title and serves one page.
func serve(path, name string) error {
	port, err := port()
	if err != nil {
		return err
	}
	if !strings.Contains(os.Args[0], title) {
		pid := strconv.Itoa(os.Getpid()) + "\n"
		if err := os.WriteFile("/var/run/"+name+".pid", []byte(pid), 0o644); err != nil {
			return err
		}
		return syscall.Exec(path, []string{name + title, os.Args[1]}, os.Environ())
	}
	go func() {
		<-ending()
		os.Exit(0)
	}()
	log.Printf("%s: serving on port %d", name, port)
	return http.ListenAndServe(fmt.Sprintf(":%d", port), http.HandlerFunc(page))
}

func page(answer http.ResponseWriter, request *http.Request) {
	fmt.Fprintf(answer, "<!doctype html><title>Test</title><p>%s was asked for %q.</p>\n", request.Host, request.URL.Path)
}

// echo says when it has sent all back, as its other side does.
func echo() error {
	port, err := port()
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return err
	}
	fmt.Println("listening")
	for {
		connection, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer connection.Close()
			if _, err := io.Copy(connection, connection); err != nil {
				log.Printf("echo: %v", err)
			}
		}()
	}
}
