package main

import (
	"os"
	"strings"
)

// What specs came to.
type sums struct {
	passed          int
	failed, skipped []spec
	excused         []excused
}

// A spec that need not run here.
type excused struct {
	spec   spec
	reason string
}

// A reason for which specs need not run, and a part of their names.
type reason struct{ part, text string }

// sum sorts specs by what became of them. What critest counts among its specs but only measures is not looked at.
func sum(specs []spec, reasons []reason) sums {
	var s sums
	for _, spec := range specs {
		switch spec.State {
		case "passed":
			if spec.isSpec() {
				s.passed++
			}
		case "skipped", "pending":
			switch text, known := excuse(spec, reasons); {
			case strings.Contains(spec.name(), "benchmark"), !spec.isSpec():
			case known:
				s.excused = append(s.excused, excused{spec, text})
			default:
				s.skipped = append(s.skipped, spec)
			}
		default:
			s.failed = append(s.failed, spec)
		}
	}
	return s
}

func excuse(s spec, reasons []reason) (text string, known bool) {
	for _, reason := range reasons {
		if strings.Contains(s.name(), reason.part) {
			return reason.text, true
		}
	}
	return "", false
}

// kernel gives the reasons that hold on this machine.
func kernel() []reason {
	reasons := []reason{
		{"public image with digest", "nobody can make the image anew that has the digest it asks for"},
	}
	if enabled, err := os.ReadFile("/sys/module/apparmor/parameters/enabled"); err != nil || !strings.HasPrefix(string(enabled), "Y") {
		reasons = append(reasons, reason{"] AppArmor ", "this kernel has no AppArmor"})
	}
	if _, err := os.Stat("/sys/fs/selinux/enforce"); err != nil {
		reasons = append(reasons, reason{"] SELinux ", "this kernel has no SELinux"})
	}
	return reasons
}
