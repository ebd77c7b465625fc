package wire

import "sync"

const (
	smallBuffer = 4 << 10  // of a connection that waits for commands
	largeBuffer = 32 << 10 // of a message that comes in, and of a chunk for go-smtp
)

// block is what messages borrow while they come in.
type block [largeBuffer]byte

// blocks lends blocks, so that an idle connection costs little.
type blocks struct{ pool sync.Pool }

func (p *blocks) get() *block {
	if b, ok := p.pool.Get().(*block); ok {
		return b
	}
	return new(block)
}

func (p *blocks) put(b *block) {
	if b != nil {
		p.pool.Put(b)
	}
}

// input holds octets that came in and were not used yet.
type input struct {
	blocks *blocks
	data   []byte
	r, w   int    // data[r:w] is not used yet
	small  []byte // data when no block is borrowed
	big    *block // data when one is
}

// unread is what was not used yet. It holds until the next call of room.
func (in *input) unread() []byte { return in.data[in.r:in.w] }

// use marks the first n octets of unread as used.
func (in *input) use(n int) {
	in.r += n
	if in.r == in.w {
		in.r, in.w = 0, 0
	}
}

// room is where more octets may go; it is never empty as long as unread is
// shorter than largeBuffer.
func (in *input) room() []byte {
	if in.w == len(in.data) && in.r > 0 {
		in.w = copy(in.data, in.unread())
		in.r = 0
	}
	if in.w == len(in.data) {
		in.widen()
	}
	return in.data[in.w:]
}

// widen borrows a block.
func (in *input) widen() {
	if in.big != nil {
		return
	}
	in.big = in.blocks.get()
	in.moveTo(in.big[:])
}

// narrow gives the block back, if what is not used yet allows.
func (in *input) narrow() {
	if in.big == nil || len(in.unread()) > smallBuffer/2 {
		return
	}
	if in.small == nil {
		in.small = make([]byte, smallBuffer)
	}
	big := in.big
	in.big = nil
	in.moveTo(in.small)
	in.blocks.put(big)
}

func (in *input) moveTo(data []byte) {
	in.w = copy(data, in.unread())
	in.r = 0
	in.data = data
}
