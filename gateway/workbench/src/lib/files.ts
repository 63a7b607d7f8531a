// Pictures that wait to be sent, in IndexedDB: a page that is closed loses none.

function store(): Promise<IDBDatabase> {
  return new Promise((done, failed) => {
    const request = indexedDB.open("ark-desk", 1);
    request.onupgradeneeded = () => request.result.createObjectStore("files");
    request.onsuccess = () => done(request.result);
    request.onerror = () => failed(request.error ?? new Error("no IndexedDB"));
  });
}
async function act<T>(mode: IDBTransactionMode, use: (files: IDBObjectStore) => IDBRequest<T>): Promise<T> {
  const database = await store();
  try {
    return await new Promise<T>((done, failed) => {
      const request = use(database.transaction("files", mode).objectStore("files"));
      request.onsuccess = () => done(request.result);
      request.onerror = () => failed(request.error ?? new Error("IndexedDB"));
    });
  } finally {
    database.close();
  }
}
export const putFile = (key: string, file: Blob): Promise<IDBValidKey> => act("readwrite", (files) => files.put(file, key));
export const getFile = (key: string): Promise<Blob | undefined> => act("readonly", (files) => files.get(key) as IDBRequest<Blob | undefined>);
export const removeFile = (key: string): Promise<undefined> => act("readwrite", (files) => files.delete(key));
