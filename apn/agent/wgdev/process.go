//go:build linux

package wgdev

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
	wg "golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/ipc"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// processDevice is wireguard-go in this process. It ends with the process, and
// its TUN with it.
type processDevice struct {
	name string
	tun  *tunDevice
	wg   *wg.Device
	uapi net.Listener

	serving sync.WaitGroup
	mu      sync.Mutex
	clients map[net.Conn]bool // nil once closed
}

func openProcess(ctx context.Context, o Options) (device, error) {
	t, err := openTUN(o)
	if err != nil {
		return nil, err
	}
	uapi, err := openSocket(ctx, o.Name)
	if err != nil {
		_ = t.Close()
		return nil, err
	}
	p := &processDevice{
		name: o.Name, tun: t, uapi: uapi,
		wg:      wg.NewDevice(t, conn.NewDefaultBind(), logger(context.WithoutCancel(ctx), o.Logger)),
		clients: map[net.Conn]bool{},
	}
	p.serving.Go(p.serve)
	p.serving.Go(func() {
		<-p.wg.Wait()
		p.hangUp()
	})
	if o.ListenPort != 0 {
		err = p.wg.IpcSet(fmt.Sprintf("listen_port=%d\n", o.ListenPort))
	}
	if err == nil {
		err = p.wg.Up()
	}
	if err != nil {
		_ = p.close()
		return nil, err
	}
	return p, nil
}

// openSocket listens for wg(8). A socket that nobody listens on is what a dead
// process left, and is replaced. A process that hangs still counts as somebody.
func openSocket(ctx context.Context, name string) (net.Listener, error) {
	path := "/var/run/wireguard/" + name + ".sock"
	if info, err := os.Lstat(path); err == nil {
		if info.Mode().Type() != os.ModeSocket {
			return nil, fmt.Errorf("%s: %w", path, ErrExists)
		}
		c, err := (&net.Dialer{Timeout: patience / 10}).DialContext(ctx, "unix", path)
		if err == nil {
			_ = c.Close()
		}
		if !errors.Is(err, unix.ECONNREFUSED) {
			return nil, fmt.Errorf("%s: %w", path, ErrExists)
		}
	}
	file, err := ipc.UAPIOpen(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	return ipc.UAPIListen(name, file)
}

func (p *processDevice) serve() {
	for {
		c, err := p.uapi.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		if p.clients == nil {
			p.mu.Unlock()
			_ = c.Close()
			return
		}
		p.clients[c] = true
		p.mu.Unlock()
		p.serving.Go(func() {
			p.wg.IpcHandle(c)
			p.mu.Lock()
			delete(p.clients, c)
			p.mu.Unlock()
		})
	}
}

// hangUp ends the socket and all conversations on it.
func (p *processDevice) hangUp() {
	_ = p.uapi.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.clients {
		_ = c.Close()
	}
	p.clients = nil
}

func (p *processDevice) read(context.Context) (*wgtypes.Device, error) {
	if p.gone() {
		return nil, ErrClosed
	}
	var text strings.Builder
	if err := p.wg.IpcGetOperation(&text); err != nil {
		return nil, err
	}
	d, err := parseDevice(text.String())
	if err != nil {
		return nil, err
	}
	d.Name, d.Type = p.name, wgtypes.Userspace
	return d, nil
}

func (p *processDevice) configure(_ context.Context, c wgtypes.Config) error {
	if p.gone() {
		return ErrClosed
	}
	return p.wg.IpcSet(string(appendConfig(nil, c)))
}

func (p *processDevice) gone() bool {
	select {
	case <-p.wg.Wait():
		return true
	default:
		return false
	}
}

func (p *processDevice) setMTU(bytes int) { p.tun.setMTU(bytes) }

func (p *processDevice) done() <-chan struct{} { return p.wg.Wait() }

func (p *processDevice) close() error {
	p.wg.Close()
	p.serving.Wait()
	return nil
}

// logger hands wireguard-go's lines on. It says most things for developers
// only, and formats nothing that nobody reads.
func logger(ctx context.Context, l *slog.Logger) *wg.Logger {
	at := func(level slog.Level) func(string, ...any) {
		return func(format string, args ...any) {
			level := level
			if slices.ContainsFunc(args, refused) {
				level = slog.LevelDebug
			}
			if l.Enabled(ctx, level) {
				l.Log(ctx, level, "wireguard", slog.String("text", fmt.Sprintf(format, args...)))
			}
		}
	}
	return &wg.Logger{Verbosef: at(slog.LevelDebug), Errorf: at(slog.LevelWarn)}
}

// refused reports whether arg says that the host's firewall keeps a packet back.
// It does so for every packet once an opening has ended.
func refused(arg any) bool {
	err, ok := arg.(error)
	return ok && errors.Is(err, unix.EPERM)
}
