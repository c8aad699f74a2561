//go:build pins

// Package conformance runs critest, and tests of corten's own with the clients that a kubelet uses.
//
// This file keeps in go.mod what is built by name: critest is the test program of a package that has nothing
// to import, so what it consists of stands here.
package conformance

import (
	_ "sigs.k8s.io/cri-tools/pkg/benchmark"
	_ "sigs.k8s.io/cri-tools/pkg/validate"
)
