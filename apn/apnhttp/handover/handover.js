// Takes the token out of the address, where only this script sees it, and sends
// it in the body of one request. Without scripts the form does the same.
'use strict';
(() => {
  const $ = (id) => document.getElementById(id);
  const form = $('form');
  if (!form) return;
  const take = () => {
    const token = location.hash.slice(1);
    if (!token) return;
    $('token').value = token;
    $('token-row').hidden = true;
    // Neither the history nor a bookmark shall keep it.
    history.replaceState(null, '', location.pathname);
  };
  take();
  addEventListener('hashchange', take);

  const say = (text) => {
    $('note').textContent = text;
    $('note').hidden = !text;
  };
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const button = form.querySelector('button');
    button.disabled = true;
    say('');
    try {
      const answer = await fetch(form.action, {
        method: 'POST', headers: {'Content-Type': 'application/json'}, credentials: 'omit', cache: 'no-store',
        body: JSON.stringify({token: $('token').value.trim(), passphrase: $('passphrase').value}),
      });
      if (!answer.ok) {
        const problem = await answer.json();
        say(problem.detail || problem.title);
        if (problem.field === 'passphrase') $('passphrase').focus();
        return;
      }
      const file = await answer.blob();
      const name = /filename="?([^";]+)/.exec(answer.headers.get('Content-Disposition') || '');
      const url = URL.createObjectURL(file);
      form.hidden = true;
      $('got').hidden = false;
      $('save').href = url;
      $('save').download = name ? name[1] : 'config';
      if (file.type.startsWith('image/')) {
        $('qr').src = url;
        $('qr').hidden = false;
      } else {
        $('save').click();
      }
      $('save').focus();
    } catch (e) {
      say('The answer did not arrive. If the link does not work any more, ask for a new one.');
    } finally {
      button.disabled = false;
    }
  });
})();
