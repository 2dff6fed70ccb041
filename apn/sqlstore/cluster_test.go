package sqlstore_test

import (
	"context"
	"database/sql"
	"fmt"
	"hash/fnv"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/sqlstore"
)

const password = "mellon sesame" // of every role

// cluster is a PostgreSQL server of its own, behind a socket in its folder.
type cluster struct {
	bin, dir string
	owner    *syscall.Credential // nil: who runs the test
	cmd      *exec.Cmd
	ended    chan struct{} // closed once cmd has
}

// clusterEnv tells a process that the kit starts, and kills, where the server of
// the one that started it is.
const clusterEnv = "SQLSTORE_TEST_CLUSTER"

var shared = sync.OnceValues(func() (*cluster, error) {
	if dir := os.Getenv(clusterEnv); dir != "" {
		return &cluster{dir: dir}, nil
	}
	c, err := newCluster()
	if err == nil {
		err = os.Setenv(clusterEnv, c.dir)
	}
	return c, err
})

func TestMain(m *testing.M) {
	inherited := os.Getenv(clusterEnv) != ""
	code := m.Run()
	if os.Getenv(clusterEnv) != "" && !inherited {
		c, err := shared()
		if err == nil {
			c.remove()
		}
	}
	os.Exit(code)
}

// postgres returns a server for tests that leave it as it is.
func postgres(tb testing.TB) *cluster {
	tb.Helper()
	needPostgres(tb)
	c, err := shared()
	require.NoError(tb, err)
	return c
}

// ownPostgres returns a server for one test.
func ownPostgres(tb testing.TB) *cluster {
	tb.Helper()
	needPostgres(tb)
	c, err := newCluster()
	require.NoError(tb, err)
	tb.Cleanup(c.remove)
	return c
}

func needPostgres(tb testing.TB) {
	tb.Helper()
	if _, err := exec.LookPath(filepath.Join(postgresBin(), "initdb")); err != nil {
		if os.Getenv("APN_REQUIRE") == "all" {
			tb.Fatalf("PostgreSQL: %v", err)
		}
		tb.Skipf("PostgreSQL: %v", err)
	}
}

// postgresBin is where Debian puts the programs of the newest version, or where
// the path leads.
func postgresBin() string {
	if debian, _ := filepath.Glob("/usr/lib/postgresql/*/bin"); len(debian) > 0 {
		return debian[len(debian)-1]
	}
	initdb, _ := exec.LookPath("initdb")
	return filepath.Dir(initdb)
}

func newCluster() (*cluster, error) {
	c := &cluster{bin: postgresBin()}
	if os.Geteuid() == 0 { // PostgreSQL refuses to work for root
		u, err := user.Lookup("postgres")
		if err != nil {
			return nil, err
		}
		uid, _ := strconv.ParseUint(u.Uid, 10, 32)
		gid, _ := strconv.ParseUint(u.Gid, 10, 32)
		c.owner = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	var err error
	// t.TempDir is closed to other users, and too long for a socket.
	if c.dir, err = os.MkdirTemp("", "sqlstore"); err != nil {
		return nil, err
	}
	if c.owner != nil {
		err = os.Chown(c.dir, int(c.owner.Uid), int(c.owner.Gid))
	}
	if err == nil {
		err = os.WriteFile(c.dir+"/password", []byte(password), 0o644)
	}
	if err != nil {
		return nil, err
	}
	// The language has an order of its own, which must not show in a List.
	if out, err := c.command("initdb", "-D", c.dir+"/data", "-N", "-A", "scram-sha-256", "-U", "postgres", "--pwfile", c.dir+"/password",
		"-E", "UTF8", "--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return c, c.start()
}

func (c *cluster) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(c.bin, name), args...)
	cmd.Dir = c.dir
	cmd.Env = []string{"LC_ALL=C.UTF-8", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.owner, Pdeathsig: syscall.SIGQUIT}
	return cmd
}

// start starts the server and waits until it answers. After a kill, processes
// that it left behind may keep it from starting for a moment.
func (c *cluster) start() error {
	for began := time.Now(); ; {
		log, err := os.Create(c.dir + "/log")
		if err != nil {
			return err
		}
		c.cmd = c.command("postgres", "-D", c.dir+"/data", "-k", c.dir, "-c", "listen_addresses=", "-c", "max_connections=200")
		c.cmd.Stdout, c.cmd.Stderr = log, log
		if err := c.cmd.Start(); err != nil {
			return err
		}
		c.ended = make(chan struct{})
		go func() {
			_ = c.cmd.Wait()
			_ = log.Close()
			close(c.ended)
		}()
		if c.answers() {
			return nil
		}
		if time.Since(began) > 30*time.Second {
			text, _ := os.ReadFile(c.dir + "/log")
			return fmt.Errorf("the server does not start:\n%s", text)
		}
	}
}

// answers reports whether the server comes up, and does not end instead.
func (c *cluster) answers() bool {
	db, err := sql.Open("pgx", c.dsn("public"))
	if err != nil {
		return false
	}
	defer func() { _ = db.Close() }()
	for {
		if db.PingContext(context.Background()) == nil {
			return true
		}
		select {
		case <-c.ended:
			return false
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// stop ends the server: with SIGINT in order, with SIGKILL without.
func (c *cluster) stop(signal os.Signal) {
	_ = c.cmd.Process.Signal(signal)
	<-c.ended
}

func (c *cluster) remove() {
	c.stop(syscall.SIGQUIT)
	_ = os.RemoveAll(c.dir)
}

// dsn leads to the schema. More words of it may follow.
func (c *cluster) dsn(schema string, more ...string) string {
	return fmt.Sprintf("host=%s user=postgres password='%s' dbname=postgres search_path=%s %s", c.dir, password, schema, strings.Join(more, " "))
}

// admin returns connections of the superuser.
func (c *cluster) admin(tb testing.TB, schema string) *sql.DB {
	tb.Helper()
	db, err := sql.Open("pgx", c.dsn(schema))
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, db.Close()) })
	return db
}

// schema creates a schema for the test, and returns its name.
func (c *cluster) schema(tb testing.TB) string {
	tb.Helper()
	return c.schemaOf(tb, tb.TempDir())
}

// schemaOf returns the schema that stands for a folder.
func (c *cluster) schemaOf(tb testing.TB, dir string) string {
	tb.Helper()
	h := fnv.New64a()
	_, _ = h.Write([]byte(dir))
	name := fmt.Sprintf("s%x", h.Sum64())
	run(tb, c.admin(tb, "public"), `CREATE SCHEMA IF NOT EXISTS `+name)
	return name
}

// open opens a store in the schema.
func (c *cluster) open(tb testing.TB, schema string) *sqlstore.Store {
	tb.Helper()
	st, err := sqlstore.OpenPostgres(tb.Context(), c.dsn(schema), nil)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, st.Close()) })
	return st
}

func run(tb testing.TB, db *sql.DB, query string, args ...any) {
	tb.Helper()
	_, err := db.ExecContext(tb.Context(), query, args...)
	require.NoError(tb, err)
}
