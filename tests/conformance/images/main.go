// Command images makes the images that critest asks for, and stores them in a registry under the paths of their
// public namesakes:
//
//	images REGISTRY BUSYBOX GUEST
//
// BUSYBOX is one whose shell looks for commands in PATH, as busybox-static's does not; GUEST is the program of the
// directory guest. An image holds what its tests use, and nothing more.
package main

import (
	"fmt"
	"log"
	"os"
	"os/exec"
	"strings"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: images REGISTRY BUSYBOX GUEST")
	}
	base, err := busybox(os.Args[2])
	if err != nil {
		log.Fatalf("making the layer with busybox: %v", err)
	}
	images := catalogue(base, os.Args[3])
	for _, image := range images {
		if err := registry(os.Args[1]).push(image); err != nil {
			log.Fatalf("pushing %s: %v", image.names[0], err)
		}
	}
	fmt.Printf("%d images are in the registry.\n", len(images))
}

// split takes a name apart into repository and tag.
func split(name string) (repository, tag string) {
	repository, tag, found := strings.Cut(name, ":")
	if !found {
		tag = "latest"
	}
	return repository, tag
}

// busybox makes the layer that all images but pause begin with.
func busybox(program string) (*layer, error) {
	list, err := exec.Command(program, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("%s --list: %w", program, err)
	}
	needed, err := libraries(program)
	if err != nil {
		return nil, err
	}
	base := newLayer()
	for _, path := range strings.Fields("bin dev etc home lib proc root sys usr usr/bin usr/sbin var var/log var/run") {
		base.directory(path, 0o755)
	}
	base.directory("tmp", 0o1777)
	base.copy("bin/busybox", 0o755, program)
	for _, path := range needed {
		base.copy(strings.TrimPrefix(path, "/"), 0o755, path)
	}
	for _, name := range strings.Fields(string(list)) {
		if name != "busybox" {
			base.link("bin/"+name, "bin/busybox")
		}
	}
	// Two commands that Debian's busybox lacks.
	base.file("usr/bin/pgrep", 0o755, []byte(pgrep))
	base.file("usr/bin/ipcs", 0o755, []byte("#!/bin/sh\ncat /proc/sysvipc/shm\n"))
	base.text("etc/passwd", "root:x:0:0::/root:/bin/sh\nwww-data:x:33:33::/var/www:/bin/false\nnobody:x:65534:65534::/home:/bin/false\n")
	base.text("etc/group", "root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n")
	return base, nil
}

// Prints the processes of a name, like the command it stands for.
const pgrep = `#!/bin/sh
code=1
for dir in /proc/[0-9]*; do
  if [ "$(cat "$dir/comm" 2>/dev/null)" = "$1" ]; then
    echo "${dir##*/}"
    code=0
  fi
done
exit $code
`
