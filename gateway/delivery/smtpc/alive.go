package smtpc

import "syscall"

// Alive tells whether an idle connection can carry another message: the server
// has neither closed it nor said something that nobody asked for, which would
// be taken for the reply to the next command.
func (c *Conn) Alive() bool {
	if c.broken || c.replies.in.Buffered() > 0 {
		return false
	}
	socket, ok := c.raw.(syscall.Conn)
	if !ok {
		return true // it shows at the next command
	}
	control, err := socket.SyscallConn()
	if err != nil {
		return false
	}
	var peekErr error
	err = control.Control(func(fd uintptr) {
		_, _, peekErr = syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	return err == nil && (peekErr == syscall.EAGAIN || peekErr == syscall.EINTR)
}
