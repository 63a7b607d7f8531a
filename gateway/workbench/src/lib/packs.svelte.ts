// Emoji, stickers and scripts: files below /desk/packs, so that a site can bring its own.

export interface EmojiGroup {
  name: { zh: string; en: string };
  emoji: string[];
}
export interface StickerPack {
  name: { zh: string; en: string };
  folder: string;
  stickers: { file: string; name: { zh: string; en: string } }[];
}
interface Index {
  emoji: EmojiGroup[];
  stickers: StickerPack[];
  scripts: { zh: string[]; en: string[] };
}

class Packs {
  index = $state.raw<Index | null>(null);
  private asked = false;

  async load(): Promise<void> {
    if (this.asked) return;
    this.asked = true;
    try {
      const answer = await fetch("/desk/packs/index.json");
      if (answer.ok) this.index = (await answer.json()) as Index;
    } catch {
      this.asked = false;
    }
  }
}
export const packs = new Packs();
