package main

import "runtime"

const (
	tests = "e2e-test-images/"
	tools = "k8s-staging-cri-tools/"
)

// catalogue lists every image that critest asks for.
func catalogue(base *layer, guest string) []image {
	shell := map[string]any{"Cmd": []string{"sh"}}
	as := func(user string) map[string]any { return map[string]any{"Cmd": []string{"sh"}, "User": user} }
	images := []image{
		// The same image is asked for from two registries.
		{[]string{"pause:3.9"}, []*layer{alone("pause", guest)}, map[string]any{"Entrypoint": []string{"/pause"}}},
		{[]string{tests + "busybox:1.29-2"}, []*layer{base}, shell},
		server(tests+"nginx:1.14-2", "nginx", "80", base, guest),
		server(tools+"hostnet-nginx-"+runtime.GOARCH, "nginx", "12003", base, guest),
		server(tests+"httpd:2.4.39-4", "httpd", "80", base, guest),
		{[]string{tests + "nonewprivs:1.3"}, []*layer{base, setuid(guest)}, map[string]any{"Cmd": []string{"/effective-uid"}}},
		// This one is for the tests with a kubelet's clients.
		{[]string{tools + "echo"}, []*layer{base, alone("usr/sbin/echo", guest)}, map[string]any{"Cmd": []string{"/usr/sbin/echo", "7"}}},
		// Users, as an image can name them.
		{[]string{tools + "test-image-user-uid"}, []*layer{base}, as("1002")},
		{[]string{tools + "test-image-user-username"}, []*layer{base}, as("www-data")},
		{[]string{tools + "test-image-user-uid-group"}, []*layer{base}, as("1003:1003")},
		{[]string{tools + "test-image-user-username-group"}, []*layer{base}, as("www-data:www-data")},
		{[]string{tools + "test-image-predefined-group"}, []*layer{base, member()}, as("1000")},
		// One image of three tags.
		{[]string{tools + "test-image-tags:1", tools + "test-image-tags:2", tools + "test-image-tags:3"},
			[]*layer{base, marked("tags")}, shell},
	}
	// Images to pull, list and remove: each another one.
	for _, name := range []string{
		"test-image-latest", "test-image-tag:test", "test-image-tag:all",
		"test-image-1", "test-image-2", "test-image-3",
	} {
		images = append(images, image{[]string{tools + name}, []*layer{base, marked(name)}, shell})
	}
	return images
}

// alone makes a layer of a single program.
func alone(path, program string) *layer {
	l := newLayer()
	l.copy(path, 0o755, program)
	return l
}

func server(name, program, port string, base *layer, guest string) image {
	return image{
		[]string{name},
		[]*layer{base, alone("usr/sbin/"+program, guest)},
		map[string]any{"Cmd": []string{program, port}, "ExposedPorts": map[string]any{port + "/tcp": struct{}{}}},
	}
}

// setuid makes a layer with a program that whoever starts it runs as root.
func setuid(guest string) *layer {
	l := newLayer()
	l.copy("effective-uid", 0o4755, guest)
	return l
}

// member makes a layer with a user whom the image itself puts into a group.
func member() *layer {
	l := newLayer()
	l.text("etc/passwd", "root:x:0:0::/root:/bin/sh\ndefault-user:x:1000:1000::/home:/bin/sh\n")
	l.text("etc/group", "root:x:0:\ndefault-user:x:1000:\ngroup-defined-in-image:x:50000:default-user\n")
	return l
}

// marked makes a layer that tells an image from others.
func marked(text string) *layer {
	l := newLayer()
	l.text("etc/mark", text+"\n")
	return l
}
