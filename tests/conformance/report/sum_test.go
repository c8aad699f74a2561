package main

import "testing"

func made(name, state string) spec {
	return spec{ContainerHierarchyTexts: []string{"[k8s.io] Things"}, LeafNodeType: "It", LeafNodeText: name, State: state}
}

func TestSpecsAreSortedByWhatBecameOfThem(t *testing.T) {
	before := spec{LeafNodeType: "BeforeSuite", State: "passed"}
	s := sum([]spec{
		before, made("work", "passed"), made("break", "failed"), made("go mad", "panicked"), made("take ages", "timedout"),
		made("wait", "skipped"), made("need what is missing", "skipped"), made("a benchmark", "skipped"),
	}, []reason{{"what is missing", "it is missing"}})
	if s.passed != 1 || len(s.failed) != 3 || len(s.skipped) != 1 || len(s.excused) != 1 {
		t.Fatalf("%+v", s)
	}
	if s.skipped[0].LeafNodeText != "wait" || s.excused[0].reason != "it is missing" {
		t.Fatalf("%+v", s)
	}
}

func TestARunWithoutSpecsIsNotWell(t *testing.T) {
	if tell(sum(nil, nil)) {
		t.Fatal("nothing ran, and that was well")
	}
	if tell(sum([]spec{made("work", "passed"), made("wait", "skipped")}, nil)) {
		t.Fatal("a spec was skipped, and that was well")
	}
	if !tell(sum([]spec{made("work", "passed")}, nil)) {
		t.Fatal("all specs passed, and that was not well")
	}
}

func TestWhatIsDoneBeforeAllSpecsCanFail(t *testing.T) {
	s := sum([]spec{{LeafNodeType: "BeforeSuite", State: "failed"}, made("work", "skipped")}, nil)
	if len(s.failed) != 1 || len(s.skipped) != 1 {
		t.Fatalf("%+v", s)
	}
}
