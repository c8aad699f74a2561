// Command report sums up what critest left in a JSON file of Ginkgo's: what failed and why, and what did not run.
// Its last line is like that of the other tests. It fails if a spec failed, was skipped for no good reason, or if
// none ran.
//
//	report FILE
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"
)

// A suite is what Ginkgo tells of a run, as far as it matters here.
type suite struct {
	SpecReports []spec
}

type spec struct {
	ContainerHierarchyTexts    []string
	LeafNodeType               string
	LeafNodeText               string
	State                      string
	RunTime                    float64
	CapturedGinkgoWriterOutput string
	Failure                    struct {
		Message  string
		Location struct {
			FileName   string
			LineNumber int
		}
	}
}

func (s spec) name() string {
	return strings.TrimSpace(strings.Join(append(s.ContainerHierarchyTexts, s.LeafNodeText), " "))
}

// isSpec tells a spec from what is done before and after all of them.
func (s spec) isSpec() bool { return s.LeafNodeType == "It" }

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: report FILE")
	}
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	var suites []suite
	if err := json.Unmarshal(text, &suites); err != nil {
		log.Fatalf("%s: %v", os.Args[1], err)
	}
	var specs []spec
	for _, suite := range suites {
		specs = append(specs, suite.SpecReports...)
	}
	if !tell(sum(specs, kernel())) {
		os.Exit(1)
	}
}

// tell prints the sum, and says whether all is well.
func tell(s sums) bool {
	for _, spec := range s.failed {
		fmt.Printf("\n---- %s: %s after %.1f s\n", spec.name(), spec.State, spec.RunTime/1e9)
		// Errors come with all of their insides.
		fmt.Println(strings.Join(first(spec.Failure.Message, 12), "\n"))
		fmt.Printf("at %s:%d\n", spec.Failure.Location.FileName, spec.Failure.Location.LineNumber)
		for _, line := range last(spec.CapturedGinkgoWriterOutput, 40) {
			fmt.Println("  |", line)
		}
	}
	for _, left := range s.excused {
		fmt.Printf("left out: %s, since %s\n", left.spec.name(), left.reason)
	}
	for _, spec := range s.skipped {
		fmt.Printf("NOT RUN: %s: %s\n", spec.name(), spec.Failure.Message)
	}
	well := len(s.failed) == 0 && len(s.skipped) == 0 && s.passed > 0
	verdict := "ok"
	if !well {
		verdict = "FAILED"
	}
	fmt.Printf("\ntest result: %s. %d passed; %d failed; %d ignored; %d left out\n",
		verdict, s.passed, len(s.failed), len(s.skipped), len(s.excused))
	return well
}

func first(text string, count int) []string {
	lines := strings.Split(text, "\n")
	return lines[:min(count, len(lines))]
}

func last(text string, count int) []string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return lines[max(0, len(lines)-count):]
}
